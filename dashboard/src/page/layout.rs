//! What all pages have in common: head, header, navigation, footer.

use super::assets::places;
use super::{Section, movement};
use crate::live::Subject;
use crate::view::Overview;
use common::RunId;
use http::StatusCode;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Movement,
    Creatives,
    Elsewhere,
}

/// A page that changes while it is open.
pub(crate) fn living(overview: &Overview, subject: Subject, sections: &[Section]) -> Markup {
    let run = &overview.run;
    let inside = |id: &str| {
        let found = sections.iter().find(|section| section.id == id);
        PreEscaped(found.map_or(String::new(), |section| section.html.to_string()))
    };
    match subject {
        Subject::Overview => {
            let content = html! {
                h1.unseen { "Run " (run) }
                section #figures aria-label="Figures" { (inside("figures")) }
                section aria-labelledby="curves-title" {
                    h2 #curves-title { "Training" }
                    div #curves { (inside("curves")) }
                    p.note {
                        "By policy version; the run's start is on the left. What versions do on "
                        @if overview.holds_out { "held-out" } @else { "its" } " products is reported by "
                        code { "adwright evaluate --follow" } " or the demo"
                        @if overview.holds_out { ": the learner never sees those." } @else { "; none are held out." }
                    }
                }
                section aria-labelledby="actors-title" {
                    h2 #actors-title { "Actors" }
                    div #actors { (inside("actors")) }
                }
                section aria-labelledby="endings-title" {
                    h2 #endings-title { "Ledger" }
                    div #endings { (inside("endings")) }
                }
                section aria-labelledby="creatives-title" {
                    h2 #creatives-title { "Newest creatives" }
                    p.note { "These stay as they are while you point at one, or have reached one with the keyboard." }
                    div #creatives data-holds { (inside("creatives")) }
                    p { a.button href="/creatives" { "All creatives" } }
                }
            };
            page(
                run,
                Place::Overview,
                "Overview",
                Some(("/events?page=overview", inside("state"), inside("news"))),
                content,
            )
        }
        Subject::Movement(from, to) => {
            let content = html! {
                h1 { "Why did it move?" }
                p.lead {
                    "The mean reward of candidate groups, with its 95 % interval: by the version that sampled them, and who moved it "
                    "between two versions."
                }
                div #movement { (inside("movement")) }
            };
            let events = movement::events(from, to);
            page(
                run,
                Place::Movement,
                "Why did it move?",
                Some((&events, inside("state"), inside("news"))),
                content,
            )
        }
    }
}

/// A page of a run. One that is alive has the place of its events, the run's state and its news.
pub(super) fn page(
    run: &RunId,
    place: Place,
    title: &str,
    alive: Option<(&str, PreEscaped<String>, PreEscaped<String>)>,
    inside: Markup,
) -> Markup {
    let link = |to: Place, href: &str, text: &str| {
        html! { a href=(href) aria-current=[(to == place).then_some("page")] { (text) } }
    };
    let events = alive.as_ref().map(|(events, _, _)| (*events).to_owned());
    let body = html! {
        a.skip href="#main" { "Skip to content" }
        header.top {
            div.bar {
                a.brand href="/" { "Adwright" }
                span.run title="the run" { (run) }
                nav aria-label="Pages" {
                    (link(Place::Overview, "/", "Overview"))
                    (link(Place::Movement, "/why", "Why did it move?"))
                    (link(Place::Creatives, "/creatives", "Creatives"))
                }
                @if let Some((_, state, _)) = &alive { div #state.state { (state) } }
            }
        }
        @if let Some((_, _, news)) = &alive {
            p #news.unseen aria-live="polite" { (news) }
            p #gone.gone role="alert" hidden data-over="The run is over and its learner has ended. What is shown is the last that it said." {
                "The learner does not answer. What is shown is the last that it said; this page goes on by itself when it is back."
            }
            noscript { p.gone { "Without scripts this page shows the moment it was loaded; load it again for newer values." } }
        }
        main #main tabindex="-1" { (inside) }
    };
    document(&format!("{title} · {run}"), events.as_deref(), body)
}

/// The form that asks for the token.
pub(crate) fn login(wrong: bool) -> Markup {
    let body = html! {
        main #main.login {
            h1 { "Adwright" }
            p { "This run's dashboard asks for its token: the first line of the file that " code { "dashboard.token_file" } " names." }
            form method="post" action="/login" {
                label for="token" { "Token" }
                input #token type="password" name="token" required autocomplete="current-password" autofocus
                    aria-invalid=[wrong.then_some("true")] aria-describedby=[wrong.then_some("wrong")];
                @if wrong { p #wrong.bad role="alert" { "That is not this run's token." } }
                button type="submit" { "Show the run" }
            }
        }
    };
    document("Adwright", None, body)
}

/// A page that says what is wrong.
pub(crate) fn problem(status: StatusCode, what: &str) -> Markup {
    let body = html! {
        main #main.login {
            h1 { (status.canonical_reason().unwrap_or("Adwright")) }
            p { (what) }
            p { a.button href="/" { "To the overview" } }
        }
    };
    document("Adwright", None, body)
}

fn document(title: &str, events: Option<&str>, body: Markup) -> Markup {
    let [style, script, icon] = places();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="icon" type="image/svg+xml" href=(icon);
                link rel="stylesheet" href=(style);
                @if events.is_some() { script src=(script) defer {} }
            }
            body data-events=[events] { (body) }
        }
    }
}

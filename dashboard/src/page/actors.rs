//! The table of actors. Those in trouble come first.

use super::Snapshot;
use super::format::{ago, count, number};
use crate::view::{Actor, Overview, RunState};
use common::{ActorState, CanaryVerdict, Presence};
use maud::{Markup, html};

/// Actors in the table.
const MOST: usize = 256;

fn state(actor: &Actor, overview: &Overview) -> ActorState {
    let is_over = overview.state == RunState::Complete;
    let (is_quarantined, waits) = (actor.quarantine.is_some(), actor.waiting_for.is_some());
    ActorState::of(actor.presence, is_quarantined, waits, is_over)
}

fn word(state: ActorState) -> (&'static str, &'static str) {
    match state {
        ActorState::Quarantined => ("bad", "In quarantine"),
        ActorState::Gone => ("bad", "Gone"),
        ActorState::Waiting => ("warn", "Waiting"),
        ActorState::Silent => ("warn", "Silent"),
        ActorState::Working => ("good", "Working"),
        ActorState::Left => ("done", "Left"),
    }
}

/// How many actors are at work, of how many; and how the others are.
pub(super) fn at_work(overview: &Overview) -> (String, String) {
    let shown = shown(overview);
    let at_work = of_state(&shown, ActorState::Working);
    let others: Vec<String> = [
        ActorState::Quarantined,
        ActorState::Gone,
        ActorState::Waiting,
        ActorState::Silent,
        ActorState::Left,
    ]
    .into_iter()
    .filter_map(|state| match of_state(&shown, state) {
        0 => None,
        some => Some(format!("{} {}", count(some as u64), word(state).1.to_lowercase())),
    })
    .collect();
    let more = match others.is_empty() {
        true if shown.is_empty() => "none has joined".into(),
        true => "all of them".into(),
        false => others.join(", "),
    };
    let value = format!("{} / {}", count(at_work as u64), count(shown.len() as u64));
    (value, more)
}

/// What there is to say of actors to somebody who listens: those that have gone or make outcomes that nobody takes. Of a run that is over
/// nothing: all of them go then, one after the other.
pub(super) fn trouble(overview: &Overview) -> Option<String> {
    if matches!(overview.state, RunState::Complete | RunState::Failed(_)) {
        return None;
    }
    let shown = shown(overview);
    let lost = of_state(&shown, ActorState::Gone) + of_state(&shown, ActorState::Quarantined);
    let all = shown.len();
    (lost > 0).then(|| format!("{lost} of {all} actors gone or in quarantine."))
}

fn of_state(shown: &[(ActorState, &Actor)], state: ActorState) -> usize {
    shown.iter().filter(|(of, _)| *of == state).count()
}

fn long_gone(actor: &Actor) -> bool {
    actor.presence.is_away() && actor.silent > Presence::FORGOTTEN_AFTER
}

/// Those that are not long gone, the worst first.
fn shown(overview: &Overview) -> Vec<(ActorState, &Actor)> {
    let mut shown: Vec<(ActorState, &Actor)> = overview
        .actors
        .iter()
        .filter(|actor| !long_gone(actor))
        .map(|actor| (state(actor, overview), actor))
        .collect();
    shown.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.id.cmp(&right.id)));
    shown
}

/// The table.
pub(super) fn actors(snapshot: &Snapshot) -> Markup {
    let overview = &snapshot.overview;
    if overview.actors.is_empty() {
        return html! { p.empty { "No actor has joined yet. Start one with " code { "adwright actor --learner URL" } "." } };
    }
    let actors = shown(overview);
    let forgotten = overview.actors.len() - actors.len();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table of actors" {
            table.actors {
                caption.unseen { "Actors, those in trouble first" }
                thead {
                    tr {
                        @for (class, head) in [
                            ("", "Actor"), ("", "State"), ("", "Version"), ("", "Canary"),
                            ("number", "A minute"), ("number", "Outcomes"), ("number", "Last heard"),
                        ] { th class=(class) scope="col" { (head) } }
                    }
                }
                tbody { @for (state, actor) in actors.iter().take(MOST) { (row(*state, actor, snapshot)) } }
            }
        }
        @if actors.len() > MOST { p.note { "and " (count((actors.len() - MOST) as u64)) " more, in no more trouble than these" } }
        @if forgotten > 0 {
            @let minutes = Presence::FORGOTTEN_AFTER.as_secs() / 60;
            p.note { (count(forgotten as u64)) " that went more than " (minutes) " minutes ago are not shown" }
        }
    }
}

fn row(state: ActorState, actor: &Actor, snapshot: &Snapshot) -> Markup {
    let (class, word) = word(state);
    let rate = snapshot.rates.actors.get(&actor.id);
    let why = match state {
        ActorState::Gone => Some("its connection is closed; what it held goes to others when the lease ends"),
        ActorState::Silent => Some("it has not called for longer than a lease lasts"),
        ActorState::Left => None,
        _ => actor.quarantine.as_deref().or(actor.waiting_for.as_deref()),
    };
    html! {
        tr data-key=(actor.id) {
            th scope="row" { (actor.id) }
            td {
                span class={ "pill " (class) } { (word) }
                @if let Some(why) = why { span.why { (why) } }
            }
            td { (actor.version.map_or_else(|| "–".into(), |version| version.to_string())) }
            td { (canary(actor)) }
            td.number { (rate.map_or_else(|| "–".into(), |rate| format!("{rate:.0}"))) }
            td.number { (count(actor.outcomes)) }
            td.number { (ago(actor.silent)) }
        }
    }
}

fn canary(actor: &Actor) -> Markup {
    let Some(report) = &actor.canary else {
        return html! { span.dim { "none" } };
    };
    let (word, explained) = match report.verdict {
        CanaryVerdict::Ok => ("ok", "its weights do what the learner's do"),
        CanaryVerdict::Mismatch => ("mismatch", "its weights do something else"),
        CanaryVerdict::Inconclusive => (
            "inconclusive",
            "too little has changed since the version before to tell",
        ),
    };
    let measured = format!(
        "{explained}: {} nats apart, {} are rounding",
        number(report.deviation),
        number(report.tolerance)
    );
    html! {
        span title=(measured) { (word) }
        // Not everybody has a pointer to rest on the word.
        @match report.verdict {
            CanaryVerdict::Mismatch => span.why { (measured) },
            _ => span.unseen { ": " (measured) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_run::overview;
    use std::time::Duration;

    #[test]
    fn a_row_says_what_is_wrong_with_an_actor_and_the_worst_comes_first() {
        let run = overview();
        let of = |change: &dyn Fn(&mut Actor)| {
            let mut actor = run.actors[0].clone();
            change(&mut actor);
            state(&actor, &run)
        };
        assert_eq!(of(&|_| {}), ActorState::Working);
        let there = |presence| of(&|actor| actor.presence = presence);
        assert_eq!(there(Presence::Gone), ActorState::Gone);
        assert_eq!(there(Presence::Silent), ActorState::Silent);
        assert_eq!(there(Presence::Left), ActorState::Left);
        assert_eq!(
            of(&|actor| actor.waiting_for = Some("the reward-server".into())),
            ActorState::Waiting
        );
        for presence in [Presence::Gone, Presence::Left] {
            assert_eq!(
                of(&|actor| (actor.presence, actor.quarantine) = (presence, Some("other weights".into()))),
                ActorState::Quarantined
            );
        }
        let over = Overview {
            state: RunState::Complete,
            ..run.clone()
        };
        let left = Actor {
            presence: Presence::Gone,
            ..run.actors[0].clone()
        };
        assert_eq!(state(&left, &over), ActorState::Left);
        let told = |run: &Overview| (at_work(run), trouble(run));
        assert_eq!(
            told(&run),
            (
                ("1 / 3".into(), "1 in quarantine, 1 waiting".into()),
                Some("1 of 3 actors gone or in quarantine.".into())
            )
        );
        let well = Overview {
            actors: run.actors[..1].to_vec(),
            ..run.clone()
        };
        assert_eq!(told(&well), (("1 / 1".into(), "all of them".into()), None));
        let failed = Overview {
            state: RunState::Failed("no store".into()),
            ..run.clone()
        };
        assert_eq!([trouble(&over), trouble(&failed)], [None, None]);
        let mut run = run;
        run.actors.push(Actor {
            id: common::ActorId::new("spot-1").unwrap(),
            silent: Presence::FORGOTTEN_AFTER + Duration::from_secs(1),
            ..left
        });
        let rows = actors(&Snapshot {
            overview: run,
            rates: Default::default(),
            excerpt: crate::chronicle::Chronicle::default().excerpt(),
        });
        let rows = rows.into_string();
        assert!(!rows.contains("spot-1") && rows.contains("1 that went"), "{rows}");
        let place = |actor: &str| rows.find(&format!("data-key=\"{actor}\"")).unwrap();
        assert!(place("actor-2") < place("actor-3") && place("actor-3") < place("actor-1"));
    }
}

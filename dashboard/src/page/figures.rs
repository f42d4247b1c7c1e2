//! The run in numbers: its state, the figures at the top, and how its tasks ended.

use super::Snapshot;
use super::actors::{at_work, trouble};
use super::format::{count, number, words};
use crate::view::{Overview, RunState};
use maud::{Markup, html};

/// The figure that leads to the table of actors.
const ACTORS: &str = "Actors at work";

/// How the run is doing, in a word.
pub(super) fn state(overview: &Overview) -> Markup {
    let (class, word) = match &overview.state {
        RunState::Training => ("good", "Training"),
        RunState::Collecting => ("good", "Collecting pairs"),
        RunState::Complete => ("done", "Complete"),
        RunState::Failed(_) => ("bad", "Failed"),
    };
    html! { span class={ "pill " (class) } { (word) } }
}

/// The same for those who listen to the page: it changes when a version is published, an actor is lost or the run ends, and the page
/// (`live.js`) has it said no more often than is borne.
pub(super) fn news(snapshot: &Snapshot) -> Markup {
    let overview = &snapshot.overview;
    let reward = snapshot
        .excerpt
        .points
        .last()
        .and_then(|point| point.values.get("reward"));
    html! {
        @match &overview.state {
            RunState::Failed(why) => { "The run failed: " (why) }
            RunState::Complete => { "The run is complete at version " (overview.version) "." }
            _ => { "Version " (overview.version.number) " of " (overview.versions) "." }
        }
        @if let Some(reward) = reward { " Mean reward " (number(*reward)) "." }
        @if let Some(trouble) = trouble(overview) { " " (trouble) }
    }
}

/// The figures at the top.
pub(super) fn figures(snapshot: &Snapshot) -> Markup {
    let Snapshot {
        overview,
        rates,
        excerpt,
    } = snapshot;
    let decided = overview.pairs_trained + overview.pairs_refused;
    let (at_work, others) = at_work(overview);
    let rows = [
        (
            "Policy version",
            format!("{} / {}", overview.version.number, overview.versions),
            format!("start {} of the learner", overview.epoch),
        ),
        (
            "Recent reward",
            excerpt.recent.mean().map_or_else(|| "–".into(), number),
            match (excerpt.recent.n(), excerpt.recent.margin()) {
                (0, _) => "no group is scored yet".into(),
                (n, Some(margin)) => format!("± {} of {n} groups", number(margin)),
                (n, None) => format!("{n} group"),
            },
        ),
        (
            "Pairs waiting",
            format!(
                "{} / {}",
                count(overview.pairs_waiting),
                count(overview.pairs_per_version)
            ),
            format!("{} tasks leased", count(overview.leased)),
        ),
        (
            "Pairs trained",
            count(overview.pairs_trained),
            match decided {
                0 => "none yet".into(),
                _ => format!("{} refused", count(overview.pairs_refused)),
            },
        ),
        (
            "Ledger",
            count(overview.recorded),
            ledger(overview.not_durable, rates.recorded),
        ),
        (ACTORS, at_work, others),
    ];
    html! {
        @if let RunState::Failed(why) = &overview.state { p.trouble { strong { "The run failed. " } (why) } }
        dl.figures {
            @for (name, value, more) in rows {
                div {
                    // Below ten curves they are far away.
                    dt { @if name == ACTORS { a href="#actors-title" { (name) } } @else { (name) } }
                    dd { strong { (value) } span { (more) } }
                }
            }
        }
        @if let Some(reading) = excerpt.reading {
            p.note.reading { "Reading earlier outcomes: " (count(reading.done)) " of " (count(reading.all)) "." }
        }
    }
}

/// How fast outcomes come into the ledger, and how many are on their way.
fn ledger(not_durable: u64, rate: Option<f64>) -> String {
    let rate = rate.map_or_else(
        || "outcomes".into(),
        |rate| format!("{rate:.0} outcomes a minute"),
    );
    match not_durable {
        0 => rate,
        waiting => format!("{rate}, {} not durable yet", count(waiting)),
    }
}

/// How tasks ended.
pub(super) fn endings(overview: &Overview) -> Markup {
    if overview.endings.is_empty() {
        return html! { p.empty { "No outcome yet. The first ones come when an actor has sampled, rendered and scored a lease." } };
    }
    let most = overview
        .endings
        .iter()
        .map(|ending| ending.count)
        .max()
        .unwrap_or(1)
        .max(1);
    html! {
        div.scroll tabindex="0" role="region" aria-label="How tasks ended" {
            table.endings {
                caption.unseen { "How tasks ended" }
                thead { tr { th scope="col" { "Outcome" } th scope="col" { "Reason" } th.number scope="col" { "Count" } th scope="col" { span.unseen { "Share of the largest" } } } }
                tbody {
                    @for ending in &overview.endings {
                        tr data-key={ (ending.kind) "/" (ending.reason) } {
                            th scope="row" { (ending.kind) }
                            td { (words(&ending.reason)) }
                            td.number { (count(ending.count)) }
                            td.share { meter min="0" max=(most) value=(ending.count) aria-hidden="true" {} }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_says_what_is_not_durable_yet_where_there_is_some() {
        assert_eq!(ledger(0, None), "outcomes");
        assert_eq!(ledger(0, Some(60.4)), "60 outcomes a minute");
        assert_eq!(ledger(7, None), "outcomes, 7 not durable yet");
        assert_eq!(ledger(7, Some(60.4)), "60 outcomes a minute, 7 not durable yet");
    }
}

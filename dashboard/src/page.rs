//! The pages as HTML. Everything that somebody else wrote is escaped on its way in; nothing here is markup but what is written
//! here. Parts that change while a page is open are sections with an id (`live.rs` sends them anew).

mod actors;
mod assets;
mod cards;
mod chart;
mod curves;
mod figures;
mod format;
mod history;
mod layout;
mod movement;

pub(crate) use assets::asset;
pub(crate) use history::history;
pub(crate) use layout::{living, login, problem};

use crate::chronicle::{Chronicle, Excerpt};
use crate::live::Subject;
use crate::rates::PerMinute;
use crate::view::{Creative, Overview};
use layout::Place;
use maud::{Markup, html};
use std::sync::Arc;

/// A run at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Where it stands.
    pub(crate) overview: Overview,
    /// How fast it goes.
    pub(crate) rates: PerMinute,
    /// What is remembered of it.
    pub(crate) excerpt: Excerpt,
}

/// A part of a page that changes.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// The id of its element.
    pub(crate) id: &'static str,
    /// What is inside.
    pub(crate) html: Arc<str>,
}

/// Outcomes on a page.
pub(crate) const PAGE: u64 = 24;

/// The changing parts that every page which follows the run has in its head.
pub(crate) const HEAD: [&str; 2] = ["state", "news"];

/// The changing parts of a page.
pub(crate) fn sections(snapshot: &Snapshot, chronicle: &Chronicle, subject: Subject) -> Arc<[Section]> {
    let overview = &snapshot.overview;
    let [state, news] = HEAD;
    let mut parts = vec![(state, figures::state(overview)), (news, figures::news(snapshot))];
    match subject {
        Subject::Overview => parts.extend([
            ("figures", figures::figures(snapshot)),
            ("curves", curves::curves(&snapshot.excerpt, overview.holds_out)),
            ("actors", actors::actors(snapshot)),
            ("endings", figures::endings(overview)),
            ("creatives", cards::newest(&snapshot.excerpt)),
        ]),
        Subject::Movement(from, to) => {
            parts.push(("movement", movement::movement(&chronicle.tallies(), from, to)));
        }
    }
    let section = |(id, html): (&'static str, Markup)| Section {
        id,
        html: html.into_string().into(),
    };
    parts.into_iter().map(section).collect()
}

/// Outcomes from the places `from` up to and without `until`, newest first.
pub(crate) fn creatives(overview: &Overview, all: &[Creative], from: u64, until: u64) -> Markup {
    let inside = html! {
        h1 { "Creatives" }
        @if all.is_empty() {
            p.empty { "No outcome is recorded yet. Load this page again when the overview has one." }
        } @else {
            p.lead {
                "Outcomes #" (format::count(from)) " to #" (format::count(until - 1)) " of the "
                (format::count(overview.recorded)) " in the ledger, newest first."
            }
        }
        (cards::cards(all.iter()))
        nav.pages aria-label="More outcomes" {
            @if until < overview.recorded {
                a.button href={ "/creatives?before=" (until.saturating_add(PAGE).min(overview.recorded)) } rel="prev" { "Newer" }
            }
            @if from > 0 { a.button href={ "/creatives?before=" (from) } rel="next" { "Older" } }
        }
    };
    layout::page(&overview.run, Place::Creatives, "Creatives", None, inside)
}

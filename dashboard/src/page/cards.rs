//! Creatives as cards, each of which leads to its history.

use super::format::{count, number, signed, words};
use crate::chronicle::Excerpt;
use crate::view::{Candidate, Creative, Outcome, Role};
use maud::{Markup, html};

/// The newest ones.
pub(super) fn newest(excerpt: &Excerpt) -> Markup {
    match excerpt.newest.is_empty() {
        true => html! { p.empty { "No creative yet. They come with the first outcomes." } },
        false => cards(excerpt.newest.iter().map(AsRef::as_ref).take(12)),
    }
}

/// Cards of creatives.
pub(super) fn cards<'a>(all: impl Iterator<Item = &'a Creative>) -> Markup {
    html! { ul.cards { @for creative in all { (card(creative)) } } }
}

fn card(creative: &Creative) -> Markup {
    let shown = shown(creative);
    html! {
        li data-key=(creative.sequence) {
            a.card href={ "/creatives/" (creative.sequence) } {
                div.thumbs {
                    @for (place, candidate) in &shown { (thumb(creative.sequence, *place, candidate)) }
                    @if shown.is_empty() { div.thumb { div.none { "no image" } span.score { "no score" } } }
                }
                strong.caption { (creative.caption) }
                span.facts {
                    @let ended = outcome(&creative.outcome);
                    span class={ "pill " (class(&creative.outcome)) } title=(ended) { (ended) }
                    @if let Some(version) = creative.version { span { (version) } }
                    span.number { "#" (count(creative.sequence)) }
                }
            }
        }
    }
}

/// The pair, or else the first two candidates with an image.
fn shown(creative: &Creative) -> Vec<(usize, &Candidate)> {
    let all = || creative.candidates.iter().enumerate();
    let role = |role| all().find(|(_, candidate)| candidate.role == role);
    let pair: Vec<_> = role(Role::Chosen)
        .into_iter()
        .chain(role(Role::Rejected))
        .collect();
    match pair.is_empty() {
        true => all()
            .filter(|(_, candidate)| candidate.has_picture())
            .take(2)
            .collect(),
        false => pair,
    }
}

fn thumb(sequence: u64, place: usize, candidate: &Candidate) -> Markup {
    let role = role(candidate.role);
    html! {
        div.thumb {
            (picture(sequence, place, candidate, true))
            span.score {
                @if let Some(role) = role { span.unseen { (role) " " } }
                @if candidate.role == Role::Chosen { span.mark aria-hidden="true" { "✓" } }
                @match candidate.reward { Some(reward) => (number(reward)), None => "no score" }
            }
        }
    }
}

/// The picture of a candidate.
pub(super) fn picture(sequence: u64, place: usize, candidate: &Candidate, small: bool) -> Markup {
    if !candidate.has_picture() {
        return html! { div.none { "no image" } };
    }
    let size = if small { "-small" } else { "" };
    let score = candidate.reward.map_or_else(
        || "without a score".into(),
        |reward| format!("scored {}", number(reward)),
    );
    let alt = match small {
        // The card's caption says what it is about.
        true => format!("candidate {}", place + 1),
        false => format!("candidate {}, {score}: {}", place + 1, candidate.text),
    };
    html! {
        img src={ "/creatives/" (sequence) "/" (place) (size) ".png" } alt=(alt) loading="lazy" decoding="async"
            width="120" height="120";
    }
}

/// What a candidate is to its pair.
pub(super) fn role(role: Role) -> Option<&'static str> {
    match role {
        Role::Chosen => Some("chosen"),
        Role::Rejected => Some("rejected"),
        Role::Neither => None,
    }
}

/// How a task ended.
pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pair => "pair".into(),
        Outcome::NoPair(reason) => format!("no pair: {}", words(reason)),
        Outcome::Failed(reason, _) => format!("failed: {}", words(reason)),
    }
}

/// Its colour.
pub(super) fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pair => "good",
        Outcome::NoPair(_) => "done",
        Outcome::Failed(..) => "bad",
    }
}

/// A margin in words.
pub(super) fn margin(creative: &Creative) -> Option<String> {
    creative.margin.map(signed)
}

impl Candidate {
    /// Whether its image can be shown.
    pub(super) fn has_picture(&self) -> bool {
        self.image.is_some() && !matches!(self.barred, Some(("undecodable", _)))
    }
}

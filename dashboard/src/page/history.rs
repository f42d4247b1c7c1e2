//! The history of one creative: from the product to the version that was trained from it.

use super::cards::{class, margin, outcome, picture, role};
use super::format::{number, short_digest, signed, words};
use super::layout::{Place, page};
use crate::view::{Candidate, Creative, History, Outcome, Overview, Role, TrainedIn};
use common::Sides;
use maud::{Markup, html};

/// The page.
pub(crate) fn history(overview: &Overview, history: &History) -> Markup {
    let creative = &history.creative;
    let inside = html! {
        nav.crumbs aria-label="Where this is" { a href="/creatives" { "Creatives" } span aria-hidden="true" { "›" } span { "#" (creative.sequence) } }
        h1 { (creative.caption) }
        p.facts {
            span class={ "pill " (class(&creative.outcome)) } { (outcome(&creative.outcome)) }
            @if let Outcome::Failed(_, detail) = &creative.outcome { span { (detail) } }
        }
        (made(creative))
        section aria-labelledby="candidates-title" {
            h2 #candidates-title { "Candidates" }
            @if creative.candidates.is_empty() { p.empty { "Nothing was sampled, or nothing of it was recorded." } }
            ol.candidates {
                @for (place, candidate) in creative.candidates.iter().enumerate() {
                    (one(creative, place, candidate, history.gone.get(place).copied().flatten()))
                }
            }
            p.note {
                "Scores are log odds of a click, up to a constant a product: the mean of both orientations where the reward model compares "
                "two images, each of which stands once on the left and once on the right of every other one. A model that looks at one image at a time knows no sides."
            }
        }
        (trained(history))
    };
    page(
        &overview.run,
        Place::Elsewhere,
        &format!("#{}", creative.sequence),
        None,
        inside,
    )
}

/// What it was made from, and by whom.
fn made(creative: &Creative) -> Markup {
    html! {
        section.made aria-labelledby="made-title" {
            h2 #made-title { "How it was made" }
            div.product {
                img src={ "/creatives/" (creative.sequence) "/product.png" } alt={ "the product: " (creative.caption) } width="160" height="160";
                dl.facts-table {
                    div { dt { "Product" } dd { (creative.product) @if let Some(category) = &creative.category { " · " (category) } } }
                    div {
                        dt { "Instruction" }
                        dd {
                            (creative.instruction)
                            @if !creative.instruction_holds {
                                p.warning { "The catalogue has changed since: another instruction was put to the policy then, of which only the digest is recorded." }
                            }
                        }
                    }
                    div { dt { "Sampled by" } dd { @match creative.version { Some(version) => (version), None => "nothing was sampled" } } }
                    div { dt { "On actor" } dd { @match &creative.actor { Some(actor) => (actor), None => "not recorded" } } }
                    div { dt { "Scored by" } dd { @match &creative.reward_model { Some(model) => code { (model) }, None => "no reward model" } } }
                    @if let Some((sampling, noise)) = creative.seeds {
                        div { dt { "Seeds" } dd { "completions " code { (sampling) } ", image noise " code { (noise) } } }
                    }
                    div { dt { "Task" } dd { (creative.task.0) ", recorded by start " (creative.epoch) " of the learner" } }
                    div { dt { "Instruction’s digest" } dd { code { (creative.prompt) } } }
                    @if let Some(margin) = margin(creative) { div { dt { "Margin" } dd { (margin) " with defects counted" } } }
                }
            }
        }
    }
}

fn one(creative: &Creative, place: usize, candidate: &Candidate, gone: Option<&str>) -> Markup {
    let chosen = candidate.role == Role::Chosen;
    html! {
        li.candidate.chosen[chosen] {
            @match gone {
                Some(why) => div.none { "image " (why) },
                None if candidate.has_picture() => {
                    a.whole href={ "/creatives/" (creative.sequence) "/" (place) ".png" } title="the picture in its own size" {
                        (picture(creative.sequence, place, candidate, false))
                    }
                },
                None => (picture(creative.sequence, place, candidate, false)),
            }
            div {
                p.facts {
                    @if let Some(role) = role(candidate.role) { span class={ "pill " (if chosen { "good" } else { "done" }) } { (role) } }
                    @if let Some((guardrail, measured)) = candidate.barred {
                        span.pill.bad { "barred: " (words(guardrail)) @if let Some(measured) = measured { " (" (number(measured)) ")" } }
                    }
                    strong.number { @match candidate.reward { Some(reward) => (signed(reward)), None => "no score" } }
                    @if candidate.defects > 0 { span.pill.warn { (candidate.defects) " defect" @if candidate.defects > 1 { "s" } } }
                }
                blockquote { (candidate.text) }
                @if let Some(Sides { left, right }) = candidate.sides {
                    p.note { "scored " (signed(left)) " on the left and " (signed(right)) " on the right" }
                }
                p.note {
                    (candidate.tokens) " tokens, log-probability " (number(candidate.log_prob))
                    @if !candidate.stopped { ", cut off at the limit" }
                    @if let Some(image) = &candidate.image { ", image " code title=(image) { (short_digest(image)) } }
                }
            }
        }
    }
}

fn trained(history: &History) -> Markup {
    let (creative, trained) = (&history.creative, &history.trained);
    html! {
        section aria-labelledby="trained-title" {
            h2 #trained-title { "What was trained from it" }
            @if let Some(why) = &history.refused {
                p { strong { "Refused" } ": " (why) }
            } @else if trained.is_empty() {
                p.empty {
                    @if creative.outcome == Outcome::Pair { "No version has been trained from this pair yet, or it was refused." }
                    @else { "Only pairs are trained on." }
                }
            }
            ul.plain {
                @for TrainedIn { version, step, lost } in trained {
                    li {
                        strong { (version) } ", done at optimizer step " (step)
                        @if *lost { " – lost: the run's weights did not come through this version" }
                    }
                }
            }
        }
    }
}

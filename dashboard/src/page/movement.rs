//! "Why did it move": the mean reward by version, by actor, category and reward model, and who moved it between two versions.

use super::format::{count, number, percent, short, signed};
use crate::decomposition::{Part, parts};
use crate::moments::Moments;
use crate::tallies::{Kind, MOST_VERSIONS, Tallies, VersionTally};
use common::PolicyVersion;
use maud::{Markup, html};

/// Rows of each table of parts.
const ROWS: usize = 24;

/// Where the events of the page are.
pub(super) fn events(from: Option<PolicyVersion>, to: Option<PolicyVersion>) -> String {
    let named = |name: &str, version: Option<PolicyVersion>| {
        version.map_or(String::new(), |version| format!("&{name}={version}"))
    };
    format!("/events?page=why{}{}", named("from", from), named("to", to))
}

/// The page's changing part.
pub(super) fn movement(tallies: &Tallies, from: Option<PolicyVersion>, to: Option<PolicyVersion>) -> Markup {
    let scored: Vec<(PolicyVersion, &VersionTally)> = tallies
        .versions()
        .filter(|(_, tally)| tally.reward().n() > 0)
        .collect();
    let (Some(&first), Some(&last)) = (scored.first(), scored.last()) else {
        return html! { p.empty { "No group is scored yet. There is something to compare once two versions have sampled." } };
    };
    let named = |version: Option<PolicyVersion>, otherwise| {
        let found = scored.iter().find(|(known, _)| Some(*known) == version);
        found.copied().unwrap_or(otherwise)
    };
    let (before, after) = (named(from, first), named(to, last));
    let asked = [from, to].into_iter().flatten();
    let unknown: Vec<PolicyVersion> = asked
        .filter(|asked| scored.iter().all(|(known, _)| known != asked))
        .collect();
    let all = tallies.all();
    html! {
        @for version in unknown {
            p.warning { "Of " (version) " no scored group is kept apart: another version is compared in its place." }
        }
        (choice(&scored, before.0, after.0, to.is_none()))
        (change(before, after))
        section aria-labelledby="all-title" {
            h2 #all-title { "The whole run" }
            p.note { "All versions together. An actor that sampled later had a better policy: to compare actors, compare two versions above." }
            div.columns { @for kind in Kind::ALL { (whole(kind, &all)) } }
        }
        // Last, because it grows.
        section aria-labelledby="versions-title" {
            h2 #versions-title { "Every version" }
            (versions(tallies, &scored))
        }
    }
}

fn choice(
    scored: &[(PolicyVersion, &VersionTally)],
    before: PolicyVersion,
    after: PolicyVersion,
    follows: bool,
) -> Markup {
    // By key, so that what somebody has chosen stays that version when a newer one comes above it.
    let options = |chosen: Option<PolicyVersion>| {
        html! {
            @for (version, _) in scored.iter().rev() {
                option value=(version) data-key=(version) selected[Some(*version) == chosen] { (version) }
            }
        }
    };
    html! {
        form.choice method="get" action="/why" {
            label for="from" { "From" } select #from name="from" { (options(Some(before))) }
            label for="to" { "to" }
            select #to name="to" {
                option value="" selected[follows] { "the newest" }
                (options((!follows).then_some(after)))
            }
            button type="submit" { "Compare" }
        }
    }
}

fn change(before: (PolicyVersion, &VersionTally), after: (PolicyVersion, &VersionTally)) -> Markup {
    let ((from, then), (to, now)) = (before, after);
    let Some((change, margin)) = now.reward().change_from(then.reward()) else {
        return html! {};
    };
    let sure = margin.is_some_and(|margin| change.abs() > margin);
    html! {
        p.verdict {
            "From " strong { (from) } " to " strong { (to) } " the mean reward went from " strong { (mean(then.reward())) }
            " to " strong { (mean(now.reward())) } ": "
            strong.up[sure && change > 0.0].down[sure && change < 0.0] { (signed(change)) }
            @if let Some(margin) = margin { " ± " (number(margin)) }
            @if from == to { ". It is the same version." }
            @else if margin.is_none() { ", of too few groups to tell that from chance." }
            @else if sure { "." }
            @else { ", which is within what chance does." }
        }
        @for kind in Kind::ALL { (contributions(kind, &parts(then, now, kind))) }
    }
}

fn contributions(kind: Kind, parts: &[Part]) -> Markup {
    let title = format!("By {}", kind.name());
    html! {
        section {
            h2 { (title) }
            div.scroll tabindex="0" role="region" aria-label={ (title) ", what changed" } {
                table {
                    caption.unseen { (title) ", the largest contribution first" }
                    thead {
                        tr {
                            th scope="col" { (kind.name()) }
                            // What the page is about comes first: on a phone the rest is behind the edge.
                            th.number scope="col" title="by its own mean, and by how often it came (mix)" { "Contributes" }
                            th.number scope="col" { "Mix" }
                            th.number scope="col" { "Change" }
                            th.number scope="col" { "Before" } th.number scope="col" { "Groups" span.unseen { " before" } }
                            th.number scope="col" { "After" } th.number scope="col" { "Groups" span.unseen { " after" } }
                        }
                    }
                    tbody { @for part in parts.iter().take(ROWS) { (contribution(part)) } }
                }
            }
            @if parts.len() > ROWS { p.note { "and " (count((parts.len() - ROWS) as u64)) " that contribute less" } }
        }
    }
}

fn contribution(part: &Part) -> Markup {
    let change = part.after.change_from(&part.before);
    html! {
        tr {
            th scope="row" title=(part.name) { (short(&part.name)) }
            td.number { strong { (signed(part.total())) } }
            td.number.dim { (signed(part.mix)) }
            td.number {
                @match change {
                    Some((change, Some(margin))) => { (signed(change)) span.dim { " ± " (number(margin)) } },
                    Some((change, None)) => (signed(change)),
                    None => "–",
                }
            }
            td.number { (mean(&part.before)) } td.number { (count(part.before.n())) }
            td.number { (mean(&part.after)) } td.number { (count(part.after.n())) }
        }
    }
}

fn versions(tallies: &Tallies, scored: &[(PolicyVersion, &VersionTally)]) -> Markup {
    let row = |name: String, tally: &VersionTally| {
        let share = |share: Option<f64>| share.map_or_else(|| "–".into(), percent);
        html! {
            tr data-key=(name) {
                th scope="row" { (name) }
                (with_interval(tally.reward()))
                td.number { (share(tally.defective_share())) }
                td.number { (share(tally.barred_share())) }
            }
        }
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Reward by version" {
            table {
                caption.unseen { "Mean reward by the version that sampled, newest first" }
                thead {
                    tr {
                        th scope="col" { "Sampled by" } th.number scope="col" { "Mean reward" } th.number scope="col" { "95 %" }
                        th.number scope="col" { "Groups" } th.number scope="col" { "With defects" } th.number scope="col" { "Barred" }
                    }
                }
                tbody {
                    @for (version, tally) in scored.iter().rev() { (row(version.to_string(), tally)) }
                    @if let Some((until, tally)) = tallies.earlier() { (row(format!("up to {until}"), tally)) }
                }
            }
        }
        @if tallies.earlier().is_some() { p.note { "The newest " (MOST_VERSIONS) " versions are kept apart, those before them together." } }
    }
}

fn whole(kind: Kind, all: &VersionTally) -> Markup {
    let mut names: Vec<_> = all.by(kind).iter().collect();
    names.sort_by_key(|(_, moments)| std::cmp::Reverse(moments.n()));
    let title = format!("By {}", kind.name());
    html! {
        div.scroll tabindex="0" role="region" aria-label={ (title) ", the whole run" } {
            table {
                caption { (title) }
                thead {
                    tr {
                        th scope="col" { (kind.name()) } th.number scope="col" { "Mean reward" } th.number scope="col" { "95 %" }
                        th.number scope="col" { "Groups" }
                    }
                }
                tbody {
                    @for (name, moments) in names.into_iter().take(ROWS) {
                        tr data-key=(name) { th scope="row" title=(name) { (short(name)) } (with_interval(moments)) }
                    }
                }
            }
        }
    }
}

fn with_interval(moments: &Moments) -> Markup {
    html! {
        td.number { (mean(moments)) }
        td.number.dim { @if let Some(margin) = moments.margin() { "± " (number(margin)) } @else { "–" } }
        td.number { (count(moments.n())) }
    }
}

fn mean(moments: &Moments) -> String {
    moments.mean().map_or_else(|| "–".into(), number)
}

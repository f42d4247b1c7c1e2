//! Which curves are shown, and what they are made of.

use super::chart::{Chart, Line};
use crate::chronicle::{Excerpt, VersionPoint};
use crate::tallies::VersionTally;
use maud::{Markup, html};
use std::sync::Arc;

/// All of them.
pub(super) fn curves(excerpt: &Excerpt) -> Markup {
    let of = |points: &[Arc<VersionPoint>], name: &'static str, metric: &str| Line {
        name,
        points: points
            .iter()
            .filter_map(|point| Some((point.version.number, *point.values.get(metric)?)))
            .filter(|(_, value)| value.is_finite())
            .collect(),
    };
    let line = |name, metric: &str| of(&excerpt.points, name, metric);
    let held_out = |name, metric: &str| of(&excerpt.evaluated, name, metric);
    let sampled = |name: &'static str, share: &dyn Fn(&VersionTally) -> Option<f64>| Line {
        name,
        points: excerpt
            .sampled
            .iter()
            .filter_map(|(number, tally)| Some((*number, share(tally)?)))
            .collect(),
    };
    let chart = |title, note, lines| Chart { title, note, lines };
    let charts = [
        chart(
            "Reward",
            "mean of the groups a version was trained from, log odds",
            vec![line("reward", "reward")],
        ),
        chart(
            "Reward on held-out products",
            "mean of products that are never trained on, as an evaluator reports it, log odds",
            vec![held_out("reward", "reward")],
        ),
        chart(
            "Match on held-out products",
            "share of valid descriptions that fit their product, and of invalid ones",
            vec![
                held_out("match", "match_rate"),
                held_out("invalid", "invalid_rate"),
            ],
        ),
        chart(
            "Loss",
            "what the steps went down, nats",
            vec![line("loss", "loss")],
        ),
        chart(
            "Loss, its parts",
            "unweighted, nats",
            vec![
                line("preference", "loss_dpo"),
                line("product", "loss_pcpo"),
                line("anchor", "loss_nll"),
                line("support", "loss_support"),
            ],
        ),
        chart(
            "Distance from the start",
            "KL of what was sampled, nats a completion",
            vec![line("KL", "kl")],
        ),
        chart(
            "Comparisons won",
            "share of pairs; 0.5 is a coin",
            vec![
                line("preference", "accuracy_dpo"),
                line("product", "accuracy_pcpo"),
            ],
        ),
        chart(
            "Unusable candidates",
            "share of what each version sampled",
            vec![
                sampled("with defects", &VersionTally::defective_share),
                sampled("barred", &VersionTally::barred_share),
            ],
        ),
        chart(
            "Staleness",
            "of the stalest pair, versions",
            vec![line("at most", "staleness_max")],
        ),
        chart(
            "Entropy",
            "of what was sampled, nats a token",
            vec![line("entropy", "entropy")],
        ),
    ];
    html! { div.charts { @for chart in &charts { (chart.figure()) } } }
}

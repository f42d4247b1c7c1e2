//! Which curves are shown, and what they are made of.

use super::chart::{Chart, Line};
use crate::chronicle::{Excerpt, VersionPoint};
use crate::tallies::VersionTally;
use maud::{Markup, html};
use std::sync::Arc;

/// All of them, of a run that holds some products out, or none.
pub(super) fn curves(excerpt: &Excerpt, holds_out: bool) -> Markup {
    let of = |points: &[Arc<VersionPoint>], name: &'static str, metric: &str| Line {
        name,
        points: points
            .iter()
            .filter_map(|point| Some((point.version.number, *point.values.get(metric)?)))
            .filter(|(_, value)| value.is_finite())
            .collect(),
    };
    let line = |name, metric: &str| of(&excerpt.points, name, metric);
    let evaluated = |name, metric: &str| of(&excerpt.evaluated, name, metric);
    let [reward_title, reward_note, match_title] = match holds_out {
        true => [
            "Reward on held-out products",
            "mean of products that are never trained on, as an evaluator reports it, log odds",
            "Match on held-out products",
        ],
        false => [
            "Reward on its products",
            "mean of the products that it is trained on, as an evaluator reports it, log odds",
            "Match on its products",
        ],
    };
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
        chart(reward_title, reward_note, vec![evaluated("reward", "reward")]),
        chart(
            match_title,
            "share of valid descriptions that fit their product, and of invalid ones",
            vec![
                evaluated("match", "match_rate"),
                evaluated("invalid", "invalid_rate"),
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

#[cfg(test)]
mod tests {
    use super::super::living;
    use super::*;
    use crate::chronicle::Chronicle;
    use crate::live::Subject;
    use crate::test_run::overview;
    use crate::view::Overview;

    #[test]
    fn only_what_is_held_out_is_called_so() {
        let excerpt = Chronicle::default().excerpt();
        let page = |holds_out: bool| {
            let run = Overview {
                holds_out,
                ..overview()
            };
            let around = living(&run, Subject::Overview, &[]).into_string();
            curves(&excerpt, holds_out).into_string() + &around
        };
        let (divided, whole) = (page(true), page(false));
        for words in [
            "Reward on held-out products",
            "Match on held-out products",
            "the learner never sees those",
        ] {
            assert!(divided.contains(words), "{words} is not in {divided}");
        }
        for words in [
            "Reward on its products",
            "Match on its products",
            "none are held out.",
        ] {
            assert!(whole.contains(words), "{words} is not in {whole}");
        }
        assert!(!whole.contains("held-out") && !whole.contains("never"), "{whole}");
    }
}

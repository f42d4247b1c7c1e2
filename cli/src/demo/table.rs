//! The table of rounds on the terminal, a row as soon as it is known, and the summary at the end.

use super::report::{Comparison, Report, Round};

const HEADER: &str = "round   reward  on test  true CTR   match  invalid     KL  entropy  tokens  distinct  pairs  no pair  stale";

/// The table's head.
pub(super) fn header() -> String {
    HEADER.to_owned()
}

/// One round as a row under [`header`].
pub(super) fn row(round: &Round) -> String {
    format!(
        "{:>5}  {:>7}  {:>7.3}  {:>8}  {:>6}  {:>7}  {:>5.2}  {:>7.2}  {:>6.1}  {:>8}  {:>5}  {:>7}  {:>5}",
        round.round,
        number(round.reward, 3),
        round.reward_test_products,
        percent(round.true_ctr, 2),
        number(round.match_rate, 3),
        percent(Some(round.invalid_rate), 1),
        round.kl,
        round.entropy,
        round.completion_tokens,
        round.distinct_descriptions,
        round.pairs,
        round.no_pairs,
        round.staleness_max,
    )
}

/// What a run came to, in a few lines.
pub(super) fn summary(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(gain), Some(share)) = (report.gain(), report.headroom_share) {
        let (from, to) = (
            percent(report.baseline.true_ctr, 2),
            percent(report.last.true_ctr, 2),
        );
        let oracle = percent(report.oracle.true_ctr, 2);
        lines.push(format!(
            "true CTR      {from} -> {to}  ({:+.1} %); the best possible is {oracle}, headroom share {share:.2}",
            gain * 100.0
        ));
        let (from, to) = (
            number(report.baseline.match_rate, 3),
            number(report.last.match_rate, 3),
        );
        lines.push(format!("match rate    {from} -> {to}"));
    }
    lines.extend(report.rounds.last().and_then(reads_product));
    lines.push(reward_model(&report.reward_model));
    let wall = &report.wall_seconds;
    lines.push(format!(
        "wall clock    pre-training {:.0} s, reward model {:.0} s, reinforcement learning {:.0} s, all {:.0} s",
        wall.pretrain, wall.reward, wall.rl, wall.total
    ));
    lines
}

/// Whether the policy reads the product, where that was measured.
fn reads_product(round: &Round) -> Option<String> {
    let (followed, nats) = (round.swap_followed?, round.product_nats?);
    Some(format!(
        "reads product descriptions go with the product in {:.0} % of swapped pairs, {nats:.1} nats a description; {} \
         distinct",
        followed * 100.0,
        round.distinct_descriptions,
    ))
}

/// The reward model's figures in one line.
pub(crate) fn reward_model(report: &reward_server::RewardReport) -> String {
    let [low, high] = report.pair_accuracy_ci;
    format!(
        "reward model  pair accuracy {:.3} [{low:.3}, {high:.3}], label ceiling {:.3} ({:.2} of it), swap consistency \
         {:.3}, calibration error {:.3}",
        report.pair_accuracy,
        report.label_ceiling,
        report.pair_accuracy / report.label_ceiling,
        report.swap_consistency,
        report.calibration_error,
    )
}

/// The modes of a comparison side by side.
pub(super) fn comparison(comparison: &Comparison) -> Vec<String> {
    let head = "mode            true CTR            match            headroom share".to_owned();
    let rows = comparison.modes.iter().map(|mode| {
        format!(
            "{:<14}  {:>7} -> {:>7}  {:>5} -> {:>5}  {:>14}",
            mode.mode,
            percent(mode.baseline.true_ctr, 2),
            percent(mode.last.true_ctr, 2),
            number(mode.baseline.match_rate, 3),
            number(mode.last.match_rate, 3),
            number(mode.headroom_share, 2),
        )
    });
    std::iter::once(head).chain(rows).collect()
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn percent(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.digits$} %", value * 100.0))
}

#[cfg(test)]
mod tests {
    use super::super::report::examples::round;
    use super::*;

    #[test]
    fn rows_are_as_wide_as_the_header_and_unknown_values_are_dashes() {
        let unknown = Round {
            true_ctr: None,
            match_rate: None,
            ..round(0, 0.0)
        };
        for round in [round(0, 0.0293), round(12, 0.0412), unknown.clone()] {
            assert_eq!(row(&round).chars().count(), HEADER.len(), "{}", row(&round));
        }
        assert!(row(&unknown).contains(" - "));
        assert!(row(&round(3, 0.0412)).contains("4.12 %"));
    }
}

//! The table of rounds on the terminal, a row as soon as it is known, and the summary at the end.

use super::report::{Comparison, Report, Round};
use crate::evaluation::MeasuredOn;
use data::{Catalogue, FEWEST_DIVIDED};

/// What stands over the rewards that the demo measures.
fn measured(on: MeasuredOn) -> &'static str {
    match on {
        MeasuredOn::TestProducts => "on test",
        MeasuredOn::ItsProducts => "on its products",
    }
}

/// How a user's catalogue is divided, of which `most` products are measured at most; nothing of the simulated shop's.
pub(super) fn division(catalogue: &dyn Catalogue, most: usize) -> Option<String> {
    let name = catalogue.places().map(|_| catalogue.name())?;
    let split = catalogue.split();
    let (trained, all) = (split.train.len(), split.test.len());
    let measured = match all > most {
        true => format!("{most} of {all}"),
        false => all.to_string(),
    };
    Some(match split.has_held_out() {
        true => format!("{name}: trained on {trained} products, measured on {measured} others"),
        false => format!(
            "{name}: trained on {trained} products, measured on the same ({measured}); none are held out of fewer than {FEWEST_DIVIDED}, or with \
             catalogue.test_share = 0"
        ),
    })
}

/// The table's head.
pub(super) fn header(on: MeasuredOn) -> String {
    format!(
        "round   reward  {}  true CTR   match  invalid     KL  entropy  tokens  distinct  pairs  no pair  stale",
        measured(on)
    )
}

/// One round as a row under [`header`].
pub(super) fn row(round: &Round, on: MeasuredOn) -> String {
    format!(
        "{:>5}  {:>7}  {:>width$.3}  {:>8}  {:>6}  {:>7}  {:>5.2}  {:>7.2}  {:>6.1}  {:>8}  {:>5}  {:>7}  {:>5}",
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
        width = measured(on).len(),
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
        for on in [MeasuredOn::TestProducts, MeasuredOn::ItsProducts] {
            for round in [round(0, 0.0293), round(12, 0.0412), unknown.clone()] {
                let row = row(&round, on);
                assert_eq!(row.chars().count(), header(on).len(), "{row}");
            }
        }
        assert!(row(&unknown, MeasuredOn::ItsProducts).contains(" - "));
        assert!(row(&round(3, 0.0412), MeasuredOn::TestProducts).contains("4.12 %"));
    }

    #[test]
    fn only_products_that_are_held_out_are_called_test_products() {
        assert!(header(MeasuredOn::TestProducts).contains("  on test  "));
        let whole = header(MeasuredOn::ItsProducts);
        assert!(
            whole.contains("  on its products  ") && !whole.contains("test"),
            "{whole}"
        );
    }

    #[test]
    fn a_users_catalogue_is_told_with_how_it_is_divided() {
        let folder = tempfile::tempdir().unwrap();
        image::RgbaImage::from_pixel(4, 4, image::Rgba([9, 9, 9, 255]))
            .save(folder.path().join("a.png"))
            .unwrap();
        let told = |products: usize, share: f64| {
            let row =
                |id| serde_json::json!({ "id": format!("p{id}"), "image": "a.png", "new_caption": "lamp" });
            let rows: Vec<_> = (0..products).map(row).collect();
            let path = folder.path().join("mine.json");
            std::fs::write(&path, serde_json::Value::from(rows).to_string()).unwrap();
            division(&data::CaigCatalogue::load(&path, share).unwrap(), 8).unwrap()
        };
        let many = told(80, 0.5);
        assert!(many.contains("measured on 8 of "), "{many}");
        let divided = told(9, 0.2);
        assert!(
            divided.starts_with("mine: trained on ") && divided.ends_with(" others"),
            "{divided}"
        );
        for whole in [told(4, 0.2), told(9, 0.0)] {
            assert!(
                whole.contains("measured on the same (") && whole.contains("catalogue.test_share"),
                "{whole}"
            );
        }
    }
}

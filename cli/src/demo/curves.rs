//! `curves.png`: how the rounds went, one small chart per measure and one line per run.

use super::charts::{self, Chart, Line};
use super::report::Round;
use crate::evaluation::MeasuredOn;
use image::RgbImage;

/// Size of the picture.
const WIDTH: u32 = 1200;
const HEIGHT: u32 = 780;

/// One run's line.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What the legend calls it.
    pub(crate) label: String,
    /// Its versions.
    pub(crate) rounds: Vec<Round>,
}

type Measure = (&'static str, fn(&Round) -> Option<f64>);

/// What is charted, in reading order.
const MEASURES: [Measure; 6] = [
    ("true CTR on {products}, %", |r| r.true_ctr.map(|v| v * 100.0)),
    ("match rate", |r| r.match_rate),
    ("reward on {products}, log odds", |r| Some(r.reward_test_products)),
    ("KL from the start, nats", |r| Some(r.kl)),
    ("invalid descriptions, %", |r| Some(r.invalid_rate * 100.0)),
    ("entropy, nats per token", |r| Some(r.entropy)),
];

/// Draws the charts of runs that are measured on these products.
///
/// # Errors
/// When the plotting library fails.
pub(crate) fn draw(title: &str, runs: &[Run], on: MeasuredOn) -> anyhow::Result<RgbImage> {
    let charts = MEASURES.map(|(measure, value)| Chart {
        title: on.titled(measure),
        lines: runs.iter().map(|run| line(run, value)).collect(),
        dots: false,
    });
    charts::draw(title, &charts, (2, 3), (WIDTH, HEIGHT))
}

fn line(run: &Run, value: fn(&Round) -> Option<f64>) -> Line {
    let point = |round: &Round| Some((round.round as f64, value(round)?));
    Line {
        label: run.label.clone(),
        points: run.rounds.iter().filter_map(point).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::examples::round;
    use super::*;

    #[test]
    fn each_run_leaves_its_colour_on_the_picture() {
        let rounds: Vec<Round> = (0..4).map(|n| round(n, 0.03 + 0.003 * n as f64)).collect();
        let run = |label: &str| Run {
            label: label.to_owned(),
            rounds: rounds.clone(),
        };
        let runs = ["dpo", "joint_swap"].map(run);
        let picture = draw("Adwright", &runs, MeasuredOn::TestProducts).unwrap();
        let colour = charts::COLOURS[1];
        assert!(picture.pixels().any(|p| p.0 == [colour.0, colour.1, colour.2]));
        assert_eq!(picture.dimensions(), (WIDTH, HEIGHT));
    }

    #[test]
    fn a_catalogue_without_truth_and_a_single_round_can_be_drawn() {
        let start = Round {
            true_ctr: None,
            match_rate: None,
            ..round(0, 0.0)
        };
        assert!(
            draw(
                "x",
                &[Run {
                    label: "dpo".into(),
                    rounds: vec![start]
                }],
                MeasuredOn::ItsProducts
            )
            .is_ok()
        );
    }

    #[test]
    fn charts_say_on_which_products() {
        let titles = |on: MeasuredOn| MEASURES.map(|(measure, _)| on.titled(measure)).join("; ");
        assert!(titles(MeasuredOn::TestProducts).contains("reward on test products"));
        let whole = titles(MeasuredOn::ItsProducts);
        assert!(
            whole.contains("reward on its products") && !whole.contains("test"),
            "{whole}"
        );
    }
}

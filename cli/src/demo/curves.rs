//! `curves.png`: how the rounds went, one small chart per measure and one line per run.

use super::font;
use super::report::Round;
use anyhow::anyhow;
use image::{RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// Size of the picture.
const WIDTH: u32 = 1200;
const HEIGHT: u32 = 780;
/// Everything is drawn so much larger and then reduced: smooth lines, and letters at their right distances.
const OVERSAMPLING: u32 = 2;
const FAMILY: &str = "sans-serif";
const COLOURS: [RGBColor; 9] = [
    RGBColor(31, 96, 170),
    RGBColor(206, 92, 36),
    RGBColor(44, 140, 86),
    RGBColor(128, 74, 160),
    RGBColor(168, 138, 30),
    RGBColor(90, 96, 104),
    RGBColor(28, 150, 160),
    RGBColor(190, 60, 110),
    RGBColor(120, 80, 50),
];

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
    ("true CTR on test products, %", |r| r.true_ctr.map(|v| v * 100.0)),
    ("match rate", |r| r.match_rate),
    ("reward on test products, log odds", |r| {
        Some(r.reward_test_products)
    }),
    ("KL from the start, nats", |r| Some(r.kl)),
    ("invalid descriptions, %", |r| Some(r.invalid_rate * 100.0)),
    ("entropy, nats per token", |r| Some(r.entropy)),
];

/// Draws the charts.
///
/// # Errors
/// When the plotting library fails.
pub(crate) fn draw(title: &str, runs: &[Run]) -> anyhow::Result<RgbImage> {
    register_font(FAMILY, FontStyle::Normal, font::BYTES)
        .map_err(|_| anyhow!("the embedded font is unusable"))?;
    let (width, height) = (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING);
    let mut pixels = vec![0; (width * height * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        root.fill(&WHITE).map_err(plot_error)?;
        let inner = root.margin(px(14), px(4), px(6), px(6));
        let below = inner.titled(title, (FAMILY, px(23))).map_err(plot_error)?;
        for (area, (name, value)) in below.split_evenly((2, 3)).iter().zip(MEASURES) {
            chart(area, name, value, runs)?;
        }
        root.present().map_err(plot_error)?;
    }
    let large = RgbImage::from_raw(width, height, pixels);
    let large = large.ok_or_else(|| anyhow!("the chart's buffer has the wrong size"))?;
    Ok(imageops::resize(
        &large,
        WIDTH,
        HEIGHT,
        imageops::FilterType::Triangle,
    ))
}

/// Pixels of the finished picture.
fn px(size: u32) -> u32 {
    size * OVERSAMPLING
}

fn chart(
    area: &DrawingArea<BitMapBackend<'_>, Shift>,
    name: &str,
    value: fn(&Round) -> Option<f64>,
    runs: &[Run],
) -> anyhow::Result<()> {
    let lines: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| points(&run.rounds, value)).collect();
    let all: Vec<(f64, f64)> = lines.iter().flatten().copied().collect();
    let (low, high) = span(all.iter().map(|&(_, y)| y));
    let last = all.iter().map(|&(x, _)| x).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(px(12))
        .caption(name, (FAMILY, px(16)))
        .x_label_area_size(px(24))
        .y_label_area_size(px(46))
        .build_cartesian_2d(0.0..last, low..high)
        .map_err(plot_error)?;
    let whole = |x: &f64| format!("{x:.0}");
    let mut mesh = chart.configure_mesh();
    mesh.x_labels(last.min(10.0) as usize + 1)
        .x_label_formatter(&whole)
        .y_labels(6)
        .light_line_style(WHITE);
    mesh.label_style((FAMILY, px(13))).draw().map_err(plot_error)?;
    for ((run, line), colour) in runs.iter().zip(lines).zip(COLOURS.iter().cycle()) {
        let drawn = chart
            .draw_series(LineSeries::new(line, colour.stroke_width(px(2))))
            .map_err(plot_error)?;
        let colour = *colour;
        drawn.label(&run.label).legend(move |(x, y)| {
            PathElement::new(vec![(x, y), (x + px(14) as i32, y)], colour.stroke_width(px(2)))
        });
    }
    if runs.len() > 1 {
        let mut legend = chart.configure_series_labels();
        legend
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(WHITE);
        legend.label_font((FAMILY, px(13))).draw().map_err(plot_error)?;
    }
    Ok(())
}

fn points(rounds: &[Round], value: fn(&Round) -> Option<f64>) -> Vec<(f64, f64)> {
    rounds
        .iter()
        .filter_map(|round| Some((round.round as f64, value(round)?)))
        .filter(|p| p.1.is_finite())
        .collect()
}

/// The values' range with some air, never empty.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    if low > high {
        return (0.0, 1.0);
    }
    let air = ((high - low) * 0.08).max(high.abs().max(1e-3) * 0.02);
    (low - air, high + air)
}

fn plot_error(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw the curves: {error}")
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
        let picture = draw("Adwright", &runs).unwrap();
        let has = |colour: RGBColor| picture.pixels().any(|p| p.0 == [colour.0, colour.1, colour.2]);
        assert!(has(COLOURS[1]));
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
                }]
            )
            .is_ok()
        );
    }

    #[test]
    fn a_range_is_never_empty() {
        for values in [vec![], vec![0.0], vec![3.0, 3.0], vec![-1.0, 1.0]] {
            let (low, high) = span(values.iter().copied());
            assert!(low < high, "{values:?}");
        }
    }
}

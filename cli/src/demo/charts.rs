//! Small line charts in rows and columns, drawn into one picture.

use super::font;
use anyhow::anyhow;
use image::{RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// Everything is drawn so much larger and then reduced: smooth lines, and letters at their right distances.
const OVERSAMPLING: u32 = 2;
const FAMILY: &str = "sans-serif";
/// Of the lines of a chart, in their order.
pub(super) const COLOURS: [RGBColor; 9] = [
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

/// One chart.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// What is charted, with units.
    pub(crate) title: String,
    /// Its lines; a legend names them where they are several.
    pub(crate) lines: Vec<Line>,
    /// Whether each point is marked.
    pub(crate) dots: bool,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// What the legend calls it.
    pub(crate) label: String,
    /// Its points, x not negative; those that are not finite are left out.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws charts in so many rows and columns, in reading order, into a picture of `width` x `height` pixels.
///
/// # Errors
/// When the plotting library fails.
pub(crate) fn draw(
    title: &str,
    charts: &[Chart],
    grid: (usize, usize),
    (width, height): (u32, u32),
) -> anyhow::Result<RgbImage> {
    register_font(FAMILY, FontStyle::Normal, font::BYTES)
        .map_err(|_| anyhow!("the embedded font is unusable"))?;
    let large = (width * OVERSAMPLING, height * OVERSAMPLING);
    let mut pixels = vec![0; (large.0 * large.1 * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, large).into_drawing_area();
        root.fill(&WHITE).map_err(plot_error)?;
        let inner = root.margin(px(14), px(4), px(6), px(6));
        let below = inner.titled(title, (FAMILY, px(23))).map_err(plot_error)?;
        for (area, chart) in below.split_evenly(grid).iter().zip(charts) {
            draw_one(area, chart)?;
        }
        root.present().map_err(plot_error)?;
    }
    let large = RgbImage::from_raw(large.0, large.1, pixels);
    let large = large.ok_or_else(|| anyhow!("the chart's buffer has the wrong size"))?;
    Ok(imageops::resize(
        &large,
        width,
        height,
        imageops::FilterType::Triangle,
    ))
}

/// Pixels of the finished picture.
fn px(size: u32) -> u32 {
    size * OVERSAMPLING
}

fn draw_one(area: &DrawingArea<BitMapBackend<'_>, Shift>, drawn: &Chart) -> anyhow::Result<()> {
    let finite = |line: &Line| -> Vec<(f64, f64)> {
        let points = line.points.iter().copied();
        points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let lines: Vec<Vec<(f64, f64)>> = drawn.lines.iter().map(finite).collect();
    let all: Vec<(f64, f64)> = lines.iter().flatten().copied().collect();
    let (low, high) = span(all.iter().map(|&(_, y)| y));
    let last = all.iter().map(|&(x, _)| x).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(px(12))
        .caption(&drawn.title, (FAMILY, px(16)))
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
    for ((line, points), colour) in drawn.lines.iter().zip(lines).zip(COLOURS.iter().cycle()) {
        let colour = *colour;
        if drawn.dots {
            let dots = points
                .iter()
                .map(|&point| Circle::new(point, px(4), colour.filled()));
            chart.draw_series(dots).map_err(plot_error)?;
        }
        let series = chart
            .draw_series(LineSeries::new(points, colour.stroke_width(px(2))))
            .map_err(plot_error)?;
        series.label(&line.label).legend(move |(x, y)| {
            PathElement::new(vec![(x, y), (x + px(14) as i32, y)], colour.stroke_width(px(2)))
        });
    }
    if drawn.lines.len() > 1 {
        let mut legend = chart.configure_series_labels();
        legend
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(WHITE);
        legend.label_font((FAMILY, px(13))).draw().map_err(plot_error)?;
    }
    Ok(())
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
    anyhow!("cannot draw the charts: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_point_is_drawn_and_one_that_is_not_finite_is_left_out() {
        let drawn = |y: f64| {
            let line = Line {
                label: "measured".into(),
                points: vec![(0.0, 1.0), (1.0, y)],
            };
            let chart = Chart {
                title: "reward".into(),
                lines: vec![line],
                dots: true,
            };
            let picture = draw("Adwright", &[chart], (1, 1), (400, 300)).unwrap();
            let colour = [COLOURS[0].0, COLOURS[0].1, COLOURS[0].2];
            picture.pixels().filter(|pixel| pixel.0 == colour).count()
        };
        let (both, one) = (drawn(2.0), drawn(f64::NAN));
        assert!(both > one && one > 0, "{both} pixels, {one} of one point");
    }

    #[test]
    fn a_range_is_never_empty() {
        for values in [vec![], vec![0.0], vec![3.0, 3.0], vec![-1.0, 1.0]] {
            let (low, high) = span(values.iter().copied());
            assert!(low < high, "{values:?}");
        }
    }
}

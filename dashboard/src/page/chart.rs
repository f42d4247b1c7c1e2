//! A curve as a figure: drawn on the server, with its newest values beside it and some of its points as a table for those who do
//! not see it.

use super::format::number;
use maud::{Markup, html};

/// Size of the drawing, in its own units.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 110.0;

/// Rows of the table.
const ROWS: usize = 12;

/// Something that is shown by version.
pub(super) struct Chart {
    /// What it is.
    pub(super) title: &'static str,
    /// How to read it.
    pub(super) note: &'static str,
    /// One or several, in the order of their colours.
    pub(super) lines: Vec<Line>,
}

/// One line of a chart.
pub(super) struct Line {
    /// What it is called beside others.
    pub(super) name: &'static str,
    /// Number of the version and value, in order; all finite.
    pub(super) points: Vec<(u64, f64)>,
}

/// What of the plane is drawn.
struct Frame {
    left: f64,
    right: f64,
    low: f64,
    high: f64,
}

impl Chart {
    /// As a figure.
    pub(super) fn figure(&self) -> Markup {
        let lines: Vec<&Line> = self.lines.iter().filter(|line| !line.points.is_empty()).collect();
        html! {
            figure.chart data-key=(self.title) {
                figcaption {
                    h3 { (self.title) }
                    p.note { (self.note) }
                }
                @if let Some(frame) = Frame::of(&lines) {
                    ul.legend {
                        @for (place, line) in lines.iter().enumerate() {
                            @if let Some((_, last)) = line.points.last() {
                                li { span class={ "swatch s" (place) } aria-hidden="true" {} (line.name) " " strong { (number(*last)) } }
                            }
                        }
                    }
                    (frame.drawing(self.title, &lines))
                    details {
                        summary { "As a table" }
                        (table(self.title, &lines))
                    }
                } @else {
                    p.empty { "Nothing measured yet." }
                }
            }
        }
    }
}

impl Frame {
    /// That holds all points; `None` without any.
    fn of(lines: &[&Line]) -> Option<Self> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let first = points().next()?;
        let fold = |start: (f64, f64), value: f64| (start.0.min(value), start.1.max(value));
        let (left, right) = points()
            .map(|point| point.0 as f64)
            .fold((first.0 as f64, first.0 as f64), fold);
        let (low, high) = points().map(|point| point.1).fold((first.1, first.1), fold);
        let (low, high) = match high > low {
            true => (low, high),
            // What stays at nothing lies at the bottom of a scale to 1, any other line that does not change in the middle.
            false if high == 0.0 => (0.0, 1.0),
            false => (low - 0.1 * high.abs(), high + 0.1 * high.abs()),
        };
        Some(Self {
            left,
            right: right.max(left + 1.0),
            low,
            high,
        })
    }

    fn place(&self, (number, value): (u64, f64)) -> (f64, f64) {
        let across = (number as f64 - self.left) / (self.right - self.left);
        let up = (value - self.low) / (self.high - self.low);
        (across * WIDTH, (1.0 - up) * HEIGHT)
    }

    fn drawing(&self, title: &str, lines: &[&Line]) -> Markup {
        let told = lines.iter().filter_map(|line| {
            let ((first, from), (last, to)) = (line.points.first()?, line.points.last()?);
            Some(format!(
                "{}: {} at version {first}, {} at version {last}",
                line.name,
                number(*from),
                number(*to)
            ))
        });
        let label = format!("{title}. {}.", told.collect::<Vec<_>>().join("; "));
        html! {
            div.plot {
                span.high aria-hidden="true" { (number(self.high)) }
                span.low aria-hidden="true" { (number(self.low)) }
                svg role="img" aria-label=(label) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                    @for rule in [0.0, HEIGHT / 2.0, HEIGHT] { line.rule x1="0" x2=(WIDTH) y1=(rule) y2=(rule) {} }
                    @if self.low < 0.0 && self.high > 0.0 {
                        @let zero = self.place((0, 0.0)).1;
                        line.zero x1="0" x2=(WIDTH) y1=(zero) y2=(zero) {}
                    }
                    @for (place, line) in lines.iter().enumerate().rev() { path class={ "line s" (place) } d=(self.path(line)) {} }
                }
                span.first aria-hidden="true" { "v" (self.left) }
                span.last aria-hidden="true" { "v" (self.right) }
            }
        }
    }

    /// A single point is a short stroke.
    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        for (place, point) in line.points.iter().enumerate() {
            let (x, y) = self.place(*point);
            let command = if place == 0 { 'M' } else { 'L' };
            path.push_str(&format!("{command}{x:.1} {y:.1}"));
        }
        if line.points.len() == 1 {
            path.push_str("h4");
        }
        path
    }
}

/// Some of the points, the first and the last among them.
fn table(title: &str, lines: &[&Line]) -> Markup {
    let longest = lines
        .iter()
        .map(|line| &line.points)
        .max_by_key(|points| points.len());
    let numbers: Vec<u64> = longest.into_iter().flatten().map(|point| point.0).collect();
    let step = numbers.len().div_ceil(ROWS).max(1);
    let shown = numbers.iter().rev().step_by(step);
    let value = |line: &Line, number: u64| {
        let found = line.points.binary_search_by_key(&number, |point| point.0);
        found.ok().map(|place| line.points[place].1)
    };
    html! {
        table {
            caption.unseen { (title) " by version, newest first" }
            thead { tr { th scope="col" { "Version" } @for line in lines { th.number scope="col" { (line.name) } } } }
            tbody {
                @for &at in shown {
                    tr {
                        th scope="row" { (at) }
                        @for line in lines { td.number { (value(line, at).map_or_else(|| "–".into(), number)) } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(u64, f64)>) -> String {
        let line = Line {
            name: "reward",
            points,
        };
        let chart = Chart {
            title: "Reward",
            note: "",
            lines: vec![line],
        };
        chart.figure().into_string()
    }

    #[test]
    fn curves_span_the_drawing_and_say_in_words_what_they_show() {
        let drawn = chart((1..=40).map(|number| (number, number as f64 / 10.0)).collect());
        assert!(
            drawn.contains("d=\"M0.0 110.0L") && drawn.contains("L300.0 0.0\""),
            "{drawn}"
        );
        assert!(
            drawn.contains("reward: 0.100 at version 1, 4.000 at version 40"),
            "{drawn}"
        );
        let rows = drawn.matches("<th scope=\"row\">").count();
        assert!((8..=ROWS).contains(&rows) && drawn.contains(">40</th>"), "{rows}");
    }

    #[test]
    fn nothing_one_point_and_a_flat_line_can_be_drawn() {
        assert!(chart(vec![]).contains("Nothing measured yet"));
        for (points, height) in [
            (vec![(3, 0.5)], " 55.0"),
            (vec![(3, 0.0), (4, 0.0)], " 110.0"),
            (vec![(0, -2.0), (1, -2.0)], " 55.0"),
        ] {
            let drawn = chart(points);
            assert!(
                drawn.contains(height) && !drawn.contains("NaN") && !drawn.contains("inf"),
                "{drawn}"
            );
        }
    }
}

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
            figure.chart.wide[self.lines.len() > 2] data-key=(self.title) {
                figcaption {
                    h3 { (self.title) }
                    p.note { (self.note) }
                }
                @if let Some(frame) = Frame::of(&lines) {
                    ul.legend {
                        @for (place, line) in lines.iter().enumerate() {
                            @if let Some((_, last)) = line.points.last() {
                                li { (sample(place)) (line.name) " " strong { (number(*last)) } }
                            }
                        }
                    }
                    (frame.drawing(self.title, &lines))
                    details {
                        summary { "As a table" }
                        div.sideways tabindex="0" role="region" aria-label={ (self.title) ", as a table" } { (table(self.title, &lines)) }
                    }
                } @else {
                    p.empty { "Nothing measured yet." }
                }
            }
        }
    }
}

impl Line {
    /// Where it begins, where it ends and how far it went, for those who do not see it. `None` without points.
    fn in_words(&self) -> Option<String> {
        let ((first, from), (last, to)) = (self.points.first()?, self.points.last()?);
        let ends = format!(
            "{}: {} at version {first}, {} at version {last}",
            self.name,
            number(*from),
            number(*to)
        );
        let by_value = |a: &&(u64, f64), b: &&(u64, f64)| a.1.total_cmp(&b.1);
        let lowest = self.points.iter().min_by(by_value)?;
        let highest = self.points.iter().max_by(by_value)?;
        Some(match self.points.len() {
            1 | 2 => ends,
            _ => format!(
                "{ends}, lowest {} at version {}, highest {} at version {}",
                number(lowest.1),
                lowest.0,
                number(highest.1),
                highest.0
            ),
        })
    }
}

/// A piece of a line as it is drawn: lines of one chart differ in dashes, not in colour alone.
fn sample(place: usize) -> Markup {
    html! {
        svg.sample aria-hidden="true" viewBox="0 0 16 4" {
            line class={ "line s" (place) } x1="1" x2="15" y1="2" y2="2" {}
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
            right,
            low,
            high,
        })
    }

    fn place(&self, (number, value): (u64, f64)) -> (f64, f64) {
        let across = (number as f64 - self.left) / (self.right - self.left).max(1.0);
        let up = (value - self.low) / (self.high - self.low);
        (across * WIDTH, (1.0 - up) * HEIGHT)
    }

    fn drawing(&self, title: &str, lines: &[&Line]) -> Markup {
        let told: Vec<String> = lines.iter().filter_map(|line| line.in_words()).collect();
        let label = format!("{title}. {}.", told.join("; "));
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
                    @for (place, line) in lines.iter().enumerate().rev() {
                        @let dot = if line.points.len() == 1 { " dot" } else { "" };
                        path class={ "line s" (place) (dot) } d=(self.path(line)) {}
                    }
                }
                span.first aria-hidden="true" { "v" (self.left) }
                @if self.right > self.left { span.last aria-hidden="true" { "v" (self.right) } }
            }
        }
    }

    /// A single point is a stroke without length, which round ends make a dot.
    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        for (place, point) in line.points.iter().enumerate() {
            let (x, y) = self.place(*point);
            let command = if place == 0 { 'M' } else { 'L' };
            path.push_str(&format!("{command}{x:.1} {y:.1}"));
        }
        if line.points.len() == 1 {
            path.push_str("h0");
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
            drawn.contains(
                "reward: 0.100 at version 1, 4.000 at version 40, lowest 0.100 at version 1, highest 4.000 at version 40"
            ),
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

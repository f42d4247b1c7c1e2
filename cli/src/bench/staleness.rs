//! How stale pairs may be: one demo a bound, all from one policy and one reward model, measured on the same products.
//!
//! The bound is a permission. How stale pairs really were follows from how fast sampling and training are on this machine, and is
//! reported and charted beside it.

use crate::args::StalenessArgs;
use crate::demo::{self, Chart, Curve, Line, Plan, Report};
use crate::evaluation::MeasuredOn;
use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, anyhow};
use image::RgbImage;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// What `--json` prints, and `staleness.json` holds.
#[derive(Debug, Serialize)]
pub(crate) struct StalenessFigures {
    seed: u64,
    points: Vec<Point>,
}

/// One bound.
#[derive(Debug, Serialize)]
struct Point {
    max_staleness: u64,
    /// Of each version's stalest pair, the mean over versions.
    staleness_mean: f64,
    /// The stalest pair of all.
    staleness_most: u64,
    true_ctr: Option<f64>,
    match_rate: Option<f64>,
    headroom_share: Option<f64>,
    /// On test products, log odds.
    reward_test_products: f64,
    invalid_rate: f64,
    rl_seconds: f64,
    pairs_submitted: u64,
    pairs_trained: u64,
}

/// The bounds' demos, checked before the first one starts; the first makes what the others start from, unless `--from` does.
pub(crate) struct Bounds(Vec<(u64, Plan)>, PathBuf);

impl Bounds {
    /// # Errors
    /// Mistakes of configuration.
    pub(crate) fn new(args: &StalenessArgs) -> Outcome<Self> {
        if !args.demo.compare.is_empty() {
            let given = anyhow!("all bounds have one loss, that of --mode: leave out --compare");
            return Err(given).or_configuration();
        }
        let (mut demo, out) = (args.demo.clone(), args.demo.out.clone());
        demo.out = place(&out, 0);
        demo.config.sets.push("learner.max_staleness=0".to_owned());
        let mut first = Plan::new(&demo)?;
        if first.config.learner.deterministic {
            let given = anyhow!(
                "no pair of a deterministic run is stale: leave out --deterministic (learner.deterministic)"
            );
            return Err(given).or_configuration();
        }
        first.aside = true;
        // All else of the others is the first one's, products too, and has been checked with it.
        let plan = |bound| Ok((bound, first.with_staleness(bound, place(&out, bound))?));
        let plans = (0..=args.most).map(plan).collect::<Outcome<_>>()?;
        Ok(Self(plans, out))
    }

    /// The first bound's plan, whose settings are those of all.
    pub(crate) fn first(&self) -> &Plan {
        &self.0[0].1
    }

    /// Runs them one after the other and writes `staleness.json`, `staleness.png` (results by staleness) and `curves.png` (by round).
    ///
    /// # Errors
    /// When a demo fails or `shutdown` comes first; the output of those that finished stays.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Outcome<StalenessFigures> {
        let Self(plans, out) = self;
        let mut reports = vec![];
        for (bound, mut plan) in plans {
            if plan.earlier.is_none() && bound > 0 {
                plan.take_over(&place(&out, 0))?;
            }
            plan.check_earlier()?;
            demo::run(plan, shutdown.clone()).await?;
            let path = place(&out, bound).join("report.json");
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let report: Report = serde_json::from_slice(&bytes).context("a demo's own report")?;
            reports.push((bound, report));
        }
        let figures = StalenessFigures {
            seed: reports[0].1.seed,
            points: reports
                .iter()
                .map(|(bound, report)| point(*bound, report))
                .collect(),
        };
        let json = serde_json::to_vec_pretty(&figures).context("figures")?;
        std::fs::write(out.join("staleness.json"), json).context("cannot write staleness.json")?;
        let on = reports[0].1.measured_on();
        draw(&figures.points, on)?
            .save(out.join("staleness.png"))
            .context("cannot write staleness.png")?;
        let curve = |(bound, report): (u64, Report)| Curve {
            label: format!("max_staleness {bound}"),
            rounds: report.rounds,
        };
        let curves: Vec<Curve> = reports.into_iter().map(curve).collect();
        let picture = demo::draw_curves("Bounded staleness", &curves, on)?;
        picture
            .save(out.join("curves.png"))
            .context("cannot write curves.png")?;
        Ok(figures)
    }
}

/// What is charted over staleness.
type Measure = (&'static str, fn(&Point) -> Option<f64>);

const MEASURES: [Measure; 2] = [
    ("true CTR on {products}, %, by staleness in versions", |p| {
        p.true_ctr.map(|v| v * 100.0)
    }),
    ("reward on {products}, log odds, by staleness in versions", |p| {
        Some(p.reward_test_products)
    }),
];

/// Draws what the bounds came to.
///
/// # Errors
/// When the plotting library fails.
fn draw(points: &[Point], on: MeasuredOn) -> anyhow::Result<RgbImage> {
    let charts = MEASURES.map(|(measure, value)| Chart {
        title: on.titled(measure),
        lines: lines(points, value),
        dots: true,
    });
    demo::draw_charts("Bounded staleness", &charts, (1, 2), (1000, 420))
}

/// A measure over the bound, and over how stale pairs were.
fn lines(points: &[Point], value: fn(&Point) -> Option<f64>) -> Vec<Line> {
    let line = |label: &str, staleness: fn(&Point) -> f64| {
        let point = |point: &Point| Some((staleness(point), value(point)?));
        let mut points: Vec<(f64, f64)> = points.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line {
            label: label.to_owned(),
            points,
        }
    };
    vec![
        line("bound (max_staleness)", |p| p.max_staleness as f64),
        line("measured, mean", |p| p.staleness_mean),
    ]
}

fn place(out: &Path, bound: u64) -> PathBuf {
    out.join(format!("staleness-{bound}"))
}

fn point(max_staleness: u64, report: &Report) -> Point {
    let trained: Vec<u64> = report
        .rounds
        .iter()
        .skip(1)
        .map(|round| round.staleness_max)
        .collect();
    let last = report.rounds.last();
    Point {
        max_staleness,
        staleness_mean: trained.iter().sum::<u64>() as f64 / trained.len().max(1) as f64,
        staleness_most: trained.iter().copied().max().unwrap_or_default(),
        true_ctr: report.last.true_ctr,
        match_rate: report.last.match_rate,
        headroom_share: report.headroom_share,
        reward_test_products: last.map_or(0.0, |round| round.reward_test_products),
        invalid_rate: last.map_or(0.0, |round| round.invalid_rate),
        rl_seconds: report.wall_seconds.rl,
        pairs_submitted: report.pairs_submitted,
        pairs_trained: report.pairs_trained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(max_staleness: u64, staleness_mean: f64, true_ctr: Option<f64>) -> Point {
        Point {
            max_staleness,
            staleness_mean,
            staleness_most: max_staleness,
            true_ctr,
            match_rate: None,
            headroom_share: None,
            reward_test_products: 1.5 - 0.125 * max_staleness as f64,
            invalid_rate: 0.0,
            rl_seconds: 1.0,
            pairs_submitted: 256,
            pairs_trained: 256,
        }
    }

    #[test]
    fn results_are_charted_over_the_bound_and_over_what_was_measured() {
        let points = [
            bound(0, 0.0, Some(0.5)),
            bound(4, 3.0, Some(0.25)),
            bound(8, 2.5, None),
        ];
        let charted = MEASURES.map(|(_, value)| {
            let lines = lines(&points, value).into_iter();
            lines.map(|line| line.points).collect::<Vec<_>>()
        });
        let ctr = [vec![(0.0, 50.0), (4.0, 25.0)], vec![(0.0, 50.0), (3.0, 25.0)]];
        let reward = [
            vec![(0.0, 1.5), (4.0, 1.0), (8.0, 0.5)],
            vec![(0.0, 1.5), (2.5, 0.5), (3.0, 1.0)],
        ];
        assert_eq!(charted, [ctr, reward]);
        assert_eq!(
            draw(&points, MeasuredOn::TestProducts).unwrap().dimensions(),
            (1000, 420)
        );
    }

    #[test]
    fn a_catalogue_without_truth_and_a_single_bound_can_be_drawn() {
        assert_eq!(
            draw(&[bound(0, 0.0, None)], MeasuredOn::ItsProducts)
                .unwrap()
                .dimensions(),
            (1000, 420)
        );
    }
}

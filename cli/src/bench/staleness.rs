//! How stale pairs may be: one demo a bound, all from one policy and one reward model, measured on held-out products.
//!
//! The bound is a permission. How stale pairs really were follows from how fast sampling and training are on this machine, and is
//! reported beside it.

use crate::args::StalenessArgs;
use crate::demo::{self, Curve, Plan, Report};
use crate::failure::Outcome;
use anyhow::Context as _;
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
        let plan = |bound: u64| -> Outcome<(u64, Plan)> {
            let mut demo = args.demo.clone();
            demo.out = place(&args.demo.out, bound);
            demo.config.sets.push(format!("learner.max_staleness={bound}"));
            let mut plan = Plan::new(&demo)?;
            plan.aside = true;
            Ok((bound, plan))
        };
        let plans = (0..=args.most).map(plan).collect::<Outcome<_>>()?;
        Ok(Self(plans, args.demo.out.clone()))
    }

    /// The first bound's plan, whose settings are those of all.
    pub(crate) fn first(&self) -> &Plan {
        &self.0[0].1
    }

    /// Runs them one after the other and writes `staleness.json` and `curves.png`.
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
        let curve = |(bound, report): (u64, Report)| Curve {
            label: format!("max_staleness {bound}"),
            rounds: report.rounds,
        };
        let curves: Vec<Curve> = reports.into_iter().map(curve).collect();
        let picture = demo::draw_curves("Bounded staleness", &curves)?;
        picture
            .save(out.join("curves.png"))
            .context("cannot write curves.png")?;
        Ok(figures)
    }
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

//! From what a run came to, to the files a user opens: `report.json`, `contact_sheet.png`, `curves.png`.

use super::curves;
use super::report::{Comparison, OracleQuality, Quality, Report, WallSeconds, Weights, headroom_share};
use super::sheet;
use super::stages::Prepared;
use super::training::{Figures, Trained};
use crate::config::Config;
use crate::evaluation::MeasuredOn;
use crate::shop::{self, Shop};
use anyhow::Context as _;
use image::RgbImage;
use serde::Serialize;
use std::time::Duration;
use store::Store;

/// Directory of the adapter beside a report.
pub(super) const ADAPTER: &str = "adapter";

/// One mode's run with its report.
#[derive(Debug)]
pub(super) struct Finished {
    /// What it came to.
    pub(super) trained: Trained,
    /// Its report.
    pub(super) report: Report,
}

/// What all modes of a demo share.
pub(super) struct Shared<'a> {
    /// The configuration, but for the mode.
    pub(super) config: &'a Config,
    /// The products.
    pub(super) shop: &'a Shop,
    /// Stages A and B.
    pub(super) prepared: &'a Prepared,
    /// Mean of the best possible true click-through rates.
    pub(super) best_ctr: Option<f64>,
    /// Whether preference labels were random.
    pub(super) control: bool,
}

impl Shared<'_> {
    /// The report of one mode; `total` is the time since the demo began.
    ///
    /// # Errors
    /// When the run published nothing.
    pub(super) fn report(&self, mode: &str, trained: &Trained, total: Duration) -> anyhow::Result<Report> {
        let first = trained.rounds.first().context("a run has at least its start")?;
        let last = trained.rounds.last().context("a run has at least its start")?;
        let (baseline, last) = (Quality::from(first), Quality::from(last));
        let oracle = OracleQuality {
            true_ctr: self.best_ctr,
        };
        let figures = &trained.figures;
        Ok(Report {
            seed: self.config.run.seed,
            mode: mode.to_owned(),
            control: self.control,
            catalogue: self.shop.catalogue.name().to_owned(),
            held_out: MeasuredOn::of(self.shop.catalogue.as_ref()) == MeasuredOn::TestProducts,
            processes: trained.processes.clone(),
            wall_seconds: WallSeconds {
                pretrain: self.prepared.pretrain_time.as_secs_f64(),
                reward: self.prepared.reward_time.as_secs_f64(),
                rl: trained.time.as_secs_f64(),
                total: total.as_secs_f64(),
            },
            reward_model: self.prepared.reward_report.clone(),
            rounds: trained.rounds.clone(),
            baseline,
            last,
            oracle,
            headroom_share: headroom_share(baseline, last, oracle),
            pairs_submitted: figures.outcomes.pairs,
            pairs_trained: figures.pairs_trained,
            adapter: ADAPTER.to_owned(),
            adapter_blake3: figures.adapter_digest.to_string(),
            weights: weights(figures),
        })
    }

    /// Several modes side by side.
    pub(super) fn comparison(&self, runs: &[Finished]) -> Comparison {
        let reports: Vec<Report> = runs.iter().map(|run| run.report.clone()).collect();
        Comparison::of(self.config.run.seed, &reports)
    }

    /// Writes report, sheet and curves of `runs` (one, or those of a comparison) into `place`, the report last.
    ///
    /// # Errors
    /// When a picture cannot be drawn or a file not written.
    pub(super) async fn write(&self, place: &Store, runs: &[Finished]) -> anyhow::Result<()> {
        let report = &runs.first().context("a demo has at least one run")?.report;
        let title = self.title(runs);
        place
            .put("contact_sheet.png", png(&self.sheet(&title, runs)?))
            .await?;
        let line = |run: &'_ Finished| curves::Run {
            label: run.report.mode.clone(),
            rounds: run.report.rounds.clone(),
        };
        let lines: Vec<curves::Run> = runs.iter().map(line).collect();
        place
            .put(
                "curves.png",
                png(&curves::draw(&title, &lines, report.measured_on())?),
            )
            .await?;
        let mut report = report.clone();
        if runs.len() > 1 {
            place.put("compare.json", json(&self.comparison(runs))?).await?;
            report.adapter = format!("{}/{ADAPTER}", report.mode);
        }
        Ok(place.put("report.json", json(&report)?).await?)
    }

    fn title(&self, runs: &[Finished]) -> String {
        let modes: Vec<String> = runs
            .iter()
            .map(|run| format!("{}{}", run.report.mode, rise(&run.report)))
            .collect();
        let control = if self.control { ", random labels" } else { "" };
        let catalogue = self.shop.catalogue.as_ref();
        let (name, seed) = (catalogue.name(), self.config.run.seed);
        let whole = unless_held_out(MeasuredOn::of(catalogue));
        format!(
            "Adwright on {name}, seed {seed}{control}{whole}: {}",
            modes.join(", ")
        )
    }

    fn sheet(&self, title: &str, runs: &[Finished]) -> anyhow::Result<RgbImage> {
        let demo = &self.config.demo;
        let generator = shop::renderer(demo.sheet_size).map_err(|failure| anyhow::anyhow!("{failure}"))?;
        let mut rows = Vec::new();
        if let Some(first) = runs.first() {
            rows.push(("start".to_owned(), &first.trained.start.samples[..]));
        }
        for run in runs {
            let label = if runs.len() > 1 {
                format!("end, {}", run.report.mode)
            } else {
                "end".to_owned()
            };
            rows.push((label, &run.trained.end.samples[..]));
        }
        sheet::draw(
            title,
            self.shop,
            &generator,
            &rows,
            demo.sheet_products,
            demo.sheet_size,
        )
    }
}

/// What a title says of products that are trained on as well.
fn unless_held_out(on: MeasuredOn) -> String {
    match on {
        MeasuredOn::TestProducts => String::new(),
        MeasuredOn::ItsProducts => format!(", trained and measured on {}", on.words()),
    }
}

/// What the true click-through rate did, where it is known.
fn rise(report: &Report) -> String {
    let (Some(from), Some(to)) = (report.baseline.true_ctr, report.last.true_ctr) else {
        return String::new();
    };
    format!(" (true CTR {:.2} % to {:.2} %)", from * 100.0, to * 100.0)
}

fn weights(figures: &Figures) -> Weights {
    Weights {
        bytes_per_publish: figures.bytes_per_publish,
        publishes: figures.publishes,
        adoptions: figures.actors.iter().map(|actor| actor.adoptions).sum(),
        bytes_received: figures
            .actors
            .iter()
            .map(|actor| (actor.actor_id.clone(), actor.adapter_bytes_received))
            .collect(),
    }
}

fn png(picture: &RgbImage) -> Vec<u8> {
    data::cutout::encode_rgb_png(picture)
}

fn json(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(value)?)
}

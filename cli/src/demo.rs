//! `adwright demo`: every role on one machine, as separate processes, measured from outside.
//!
//! Stages A and B make a policy and a reward model; stage C runs once per mode. The demo alone knows the simulated shop's
//! truth: neither learner nor reward-server ever sees it. What the roles do is theirs; here they are only started,
//! followed and ended.

#![expect(
    clippy::disallowed_methods,
    reason = "how long stages and rounds take is one of the results"
)]

mod charts;
mod contact_sheet;
mod curves;
mod earlier;

mod fleet;
mod font;
mod foreseen;
mod goals;
mod liveness;
mod output_dir;
mod plan;
mod processes;
mod report;
mod results;
mod results_table;
mod roles;
mod sheet;
pub(crate) mod soak;
mod stages;
mod table;
mod training;
mod versions;

pub(crate) use charts::{Chart, Line, draw as draw_charts};
pub(crate) use curves::{Run as Curve, draw as draw_curves};
pub(crate) use goals::{Goal, Verdict};
pub(crate) use plan::Plan;
pub(crate) use report::{Report, Round};
pub(crate) use results_table::results_table;
pub(crate) use soak::SoakFigures;
pub(crate) use table::reward_model as reward_model_line;

use crate::config::Config;
use crate::evaluation::Evaluator;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::locations;
use crate::progress::Progress;
use anyhow::{Context as _, anyhow};
use learner::LossConfig;
use models::compute_thread::ComputeThread;
use output_dir::OutputDir;
use processes::{Launcher, blame};
use proto::observe::Pulse;
use results::{Finished, Shared};
use roles::{Roles, RunFiles};
use stages::Prepared;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Store, StoreSettings};
use tokio_util::sync::CancellationToken;

/// Versions that may wait to be measured.
const EVALUATION_QUEUE: usize = 2;

/// Runs a whole demo.
///
/// # Errors
/// When anything fails or `shutdown` comes first. No process is then left, and of the output only logs.
pub(crate) async fn run(plan: Plan, shutdown: CancellationToken) -> Outcome<()> {
    let output = OutputDir::prepare(&plan.out)?;
    let work = output.path().to_owned();
    let demo = Demo {
        plan: &plan,
        work: &work,
        program: std::env::current_exe().context("cannot find this program's own file")?,
        progress: match plan.aside {
            true => Progress::detect().aside(),
            false => Progress::detect(),
        },
        begun: Instant::now(),
        shutdown,
    };
    if let Some(division) = table::division(plan.shop.catalogue.as_ref(), plan.config.demo.products) {
        demo.progress.say(&division);
    }
    let prepared = demo.prepare().await.map_err(blame)?;
    let evaluator = demo.evaluator(&prepared).await?;
    let fits = evaluator.call(|evaluator| evaluator.check_products()).await?;
    fits.or_configuration()?;
    let shared = Shared {
        config: &plan.config,
        shop: &plan.shop,
        prepared: &prepared,
        best_ctr: evaluator.call(|evaluator| evaluator.best_ctr()).await?,
        control: plan.control,
    };
    let mut runs = Vec::new();
    let prepared_in = demo.begun.elapsed();
    for loss in &plan.losses {
        let trained = demo.train(loss, &shared, &evaluator, prepared_in).await;
        runs.push(trained.map_err(blame)?);
    }
    demo.conclude(&shared, &runs).await?;
    let target = output.target().display().to_string();
    output.finish()?;
    let files = "report.json, contact_sheet.png, curves.png, config.toml";
    demo.progress.print(&format!("written to {target}: {files}"))?;
    Ok(())
}

/// Makes what a demo starts from, then lets its roles work for `time`, reads how much memory they hold, and tells it. Then what they have
/// written goes, which may take minutes: only logs are left, beside where a demo's output would be.
///
/// # Errors
/// When anything fails or `shutdown` comes first. No process is then left.
pub(crate) async fn soak(
    mut plan: Plan,
    time: Duration,
    shutdown: CancellationToken,
    tell: impl FnOnce(&SoakFigures) -> anyhow::Result<()>,
) -> Outcome<()> {
    // More than any soak takes.
    plan.config.learner.versions = 1_000_000;
    // Never finished: what the roles write, images by the gigabyte, goes with it.
    let output = OutputDir::prepare(&plan.out)?;
    let demo = Demo {
        plan: &plan,
        work: output.path(),
        program: std::env::current_exe().context("cannot find this program's own file")?,
        progress: Progress::detect().aside(),
        begun: Instant::now(),
        shutdown,
    };
    let prepared = demo.prepare().await.map_err(blame)?;
    let files = run_files(&plan.config, demo.work, &prepared)?;
    let roles = Roles {
        config: &plan.config,
        files: &files,
        launcher: &Launcher::new(&demo.program, &demo.work.join("logs"))?,
    };
    let soaked = soak::soak(&roles, time, &demo.progress, &demo.shutdown, tell).await;
    soaked.map_err(blame)
}

/// A demo under way.
struct Demo<'a> {
    plan: &'a Plan,
    work: &'a Path,
    /// This program's file, looked up once: a rebuild meanwhile must not leave the demo without.
    program: PathBuf,
    progress: Progress,
    begun: Instant,
    shutdown: CancellationToken,
}

impl Demo<'_> {
    /// Stages A and B, or what an earlier demo left of them.
    async fn prepare(&self) -> anyhow::Result<Prepared> {
        let config = write_config(&self.plan.config, self.work)?;
        let launcher = Launcher::new(&self.program, &self.work.join("logs"))?;
        let prepared = match &self.plan.earlier {
            Some(earlier) => earlier.copy_to(self.work)?,
            None => tokio::select! {
                prepared = stages::prepare(&self.plan.config, &config, self.work, &launcher, &self.progress) => prepared?,
                () = self.shutdown.cancelled() => return Err(training::interrupted()),
            },
        };
        self.progress.say(&table::reward_model(&prepared.reward_report));
        Ok(prepared)
    }

    async fn evaluator(&self, prepared: &Prepared) -> anyhow::Result<ComputeThread<Evaluator>> {
        let (config, shop) = (self.plan.config.clone(), self.plan.shop.clone());
        let (policy, reward) = (prepared.policy.clone(), prepared.reward.clone());
        let load = move || Evaluator::load(&config, shop, &policy, &reward, &Pulse::default());
        let spawn = || ComputeThread::spawn("evaluation", EVALUATION_QUEUE, load);
        tokio::task::spawn_blocking(spawn)
            .await
            .context("the evaluation's thread did not start")?
    }

    /// Stage C with one loss. What every loss starts from took `prepared_in`.
    async fn train(
        &self,
        loss: &LossConfig,
        shared: &Shared<'_>,
        evaluator: &ComputeThread<Evaluator>,
        prepared_in: Duration,
    ) -> anyhow::Result<Finished> {
        let begun = Instant::now();
        let (mode, several) = (loss.mode, self.plan.losses.len() > 1);
        if several {
            self.progress.print(&format!("mode {mode}"))?;
        }
        let place = |parent: &Path| {
            if several {
                parent.join(mode.as_str())
            } else {
                parent.to_owned()
            }
        };
        let (directory, logs) = (place(self.work), place(&self.work.join("logs")));
        let mut config = self.plan.config_of(loss);
        if let Some(board) = config.telemetry.tensorboard_dir() {
            // Two runs in one directory would be drawn as one.
            config.telemetry.tensorboard = place(&board).display().to_string();
        }
        let files = run_files(&config, &directory, shared.prepared)?;
        let roles = Roles {
            config: &config,
            files: &files,
            launcher: &Launcher::new(&self.program, &logs)?,
        };
        let trained = training::train(&roles, evaluator, &self.progress, &self.shutdown).await?;
        let report = shared.report(mode.as_str(), &trained, prepared_in + begun.elapsed())?;
        for line in table::summary(&report) {
            self.progress.print(&line)?;
        }
        let finished = Finished { trained, report };
        let place = open_place(&directory)?;
        shared.write(&place, std::slice::from_ref(&finished)).await?;
        // Last: it may take minutes, and whoever is killed over it has the results.
        files.clear_scratch()?;
        Ok(finished)
    }

    /// The results of several modes together; those of one are written with its run.
    async fn conclude(&self, shared: &Shared<'_>, runs: &[Finished]) -> anyhow::Result<()> {
        if runs.len() > 1 {
            shared.write(&open_place(self.work)?, runs).await?;
            for line in table::comparison(&shared.comparison(runs)) {
                self.progress.print(&line)?;
            }
        }
        Ok(())
    }
}

/// The directory as a store, which results are put into.
fn open_place(directory: &Path) -> anyhow::Result<Store> {
    locations::open_store(
        "--out",
        &directory.display().to_string(),
        &StoreSettings::default(),
    )
    .map_err(|failure| anyhow!("{failure}"))
}

fn write_config(config: &Config, directory: &Path) -> anyhow::Result<PathBuf> {
    let path = directory.join("config.toml");
    fs::write(&path, config.to_toml()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn run_files(config: &Config, directory: &Path, prepared: &Prepared) -> anyhow::Result<RunFiles> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    write_config(config, directory)?;
    let policy_name = std::path::absolute(&config.paths.policy)
        .with_context(|| format!("{} is no path", config.paths.policy))?;
    let (policy, reward) = (&prepared.policy, &prepared.reward);
    Ok(RunFiles::below(directory, policy, &policy_name, reward))
}

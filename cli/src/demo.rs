//! `adwright demo`: every role on one machine, as separate processes, measured from outside.
//!
//! Stages A and B make a policy and a reward model; stage C runs once per mode. The demo alone knows the simulated shop's
//! truth: neither learner nor reward-server ever sees it. What the roles do is theirs; here they are only started,
//! followed and ended.

mod contact_sheet;
mod curves;
mod earlier;
mod evaluation;
mod fleet;
mod font;
mod observer;
mod output_dir;
mod plan;
mod processes;
mod report;
mod results;
mod results_table;
mod sheet;
mod stages;
mod table;
mod training;

pub(crate) use plan::Plan;
pub(crate) use report::Report;
pub(crate) use results_table::results_table;
pub(crate) use table::reward_model as reward_model_line;

use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::Progress;
use anyhow::Context as _;
use evaluation::Evaluator;
use fleet::RunFiles;
use learner::LossMode;
use models::compute_thread::ComputeThread;
use output_dir::OutputDir;
use processes::Launcher;
use results::{Finished, Shared};
use stages::Prepared;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
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
        progress: Progress::detect(),
        begun: Instant::now(),
        shutdown,
    };
    let prepared = demo.prepare().await?;
    let evaluator = demo.evaluator(&prepared).await?;
    let fits = evaluator.call(|evaluator| evaluator.check_prompts()).await?;
    fits.or_configuration()?;
    let shared = Shared {
        config: &plan.config,
        shop: &plan.shop,
        prepared: &prepared,
        best_ctr: evaluator.call(|evaluator| evaluator.best_ctr()).await?,
        control: plan.control,
    };
    let mut runs = Vec::new();
    for &mode in &plan.modes {
        runs.push(demo.train(mode, &shared, &evaluator).await?);
    }
    demo.conclude(&shared, &runs)?;
    let target = output.target().display().to_string();
    output.finish()?;
    let files = "report.json, contact_sheet.png, curves.png, config.toml";
    demo.progress.print(&format!("written to {target}: {files}"))?;
    Ok(())
}

/// A demo under way.
struct Demo<'a> {
    plan: &'a Plan,
    work: &'a Path,
    progress: Progress,
    begun: Instant,
    shutdown: CancellationToken,
}

impl Demo<'_> {
    /// Stages A and B, or what an earlier demo left of them.
    async fn prepare(&self) -> anyhow::Result<Prepared> {
        let config = write_config(&self.plan.config, self.work)?;
        let launcher = Launcher::new(&self.work.join("logs"))?;
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
        let load = move || Evaluator::load(&config, shop, &policy, &reward);
        let spawn = || ComputeThread::spawn("evaluation", EVALUATION_QUEUE, load);
        tokio::task::spawn_blocking(spawn)
            .await
            .context("the evaluation's thread did not start")?
    }

    /// Stage C for one mode.
    async fn train(
        &self,
        mode: LossMode,
        shared: &Shared<'_>,
        evaluator: &ComputeThread<Evaluator>,
    ) -> anyhow::Result<Finished> {
        let several = self.plan.modes.len() > 1;
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
        let config = self.plan.config_of(mode);
        let files = run_files(&config, &directory, shared.prepared)?;
        let launcher = Launcher::new(&logs)?;
        let trained = training::train(
            &config,
            &files,
            &launcher,
            evaluator,
            &self.progress,
            &self.shutdown,
        )
        .await?;
        clear_scratch(&files)?;
        let report = shared.report(mode.as_str(), &trained, self.begun.elapsed())?;
        for line in table::summary(&report) {
            self.progress.print(&line)?;
        }
        let finished = Finished { trained, report };
        if several {
            shared.write(&directory, std::slice::from_ref(&finished))?;
        }
        Ok(finished)
    }

    /// The results of all modes.
    fn conclude(&self, shared: &Shared<'_>, runs: &[Finished]) -> anyhow::Result<()> {
        shared.write(self.work, runs)?;
        if runs.len() > 1 {
            for line in table::comparison(&shared.comparison(runs)) {
                self.progress.print(&line)?;
            }
        }
        Ok(())
    }
}

fn write_config(config: &Config, directory: &Path) -> anyhow::Result<PathBuf> {
    let path = directory.join("config.toml");
    fs::write(&path, config.to_toml()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn run_files(config: &Config, directory: &Path, prepared: &Prepared) -> anyhow::Result<RunFiles> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(RunFiles {
        config: write_config(config, directory)?,
        policy: prepared.policy.clone(),
        reward: prepared.reward.clone(),
        store: directory.join("store"),
        adapter: directory.join(results::ADAPTER),
        summary: directory.join("run.json"),
        work: directory.join("actors"),
    })
}

/// What actors received is a copy of the policy beside it.
fn clear_scratch(files: &RunFiles) -> anyhow::Result<()> {
    if files.work.exists() {
        fs::remove_dir_all(&files.work).with_context(|| format!("cannot remove {}", files.work.display()))?;
    }
    Ok(())
}

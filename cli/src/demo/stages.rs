//! Stages A and B of a demo, as child processes: pre-training and the reward model. They need nothing of each other, so
//! they may run side by side.

use super::processes::{Child, Launcher};
use crate::config::{Config, Stages};
use crate::events::StageEvent;
use crate::progress::{Progress, Stage};
use anyhow::{Context as _, bail};
use reward_server::RewardReport;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the first two stages left behind.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Directory of the initial policy.
    pub(super) policy: PathBuf,
    /// Directory of the reward model.
    pub(super) reward: PathBuf,
    /// How good the reward model is.
    pub(super) reward_report: RewardReport,
    /// How long pre-training took.
    pub(super) pretrain_time: Duration,
    /// How long the reward model took.
    pub(super) reward_time: Duration,
}

/// Runs both stages into `out`, configured by the file at `config_path`.
///
/// # Errors
/// When one fails; the other one is then stopped.
pub(super) async fn prepare(
    config: &Config,
    config_path: &Path,
    out: &Path,
    launcher: &Launcher,
    progress: &Progress,
) -> anyhow::Result<Prepared> {
    let (policy, reward) = (out.join("policy"), out.join("reward-model"));
    let threads = &config.demo.threads;
    let pretrain = Task {
        command: "pretrain",
        title: "pre-training",
        threads: threads.pretrain,
        out: &policy,
    };
    let train = Task {
        command: "train-reward",
        title: "reward model",
        threads: threads.train_reward,
        out: &reward,
    };
    let (pretrain, train) = (
        pretrain.run(config_path, launcher, progress),
        train.run(config_path, launcher, progress),
    );
    let ((_, pretrain_time), (report, reward_time)) = match config.demo.stages {
        Stages::SideBySide => tokio::try_join!(pretrain, train)?,
        Stages::InTurn => (pretrain.await?, train.await?),
    };
    let reward_report = serde_json::from_value(report).context("the reward model's figures are malformed")?;
    Ok(Prepared {
        policy,
        reward,
        reward_report,
        pretrain_time,
        reward_time,
    })
}

struct Task<'a> {
    command: &'static str,
    title: &'static str,
    threads: usize,
    out: &'a Path,
}

impl Task<'_> {
    async fn run(
        &self,
        config: &Path,
        launcher: &Launcher,
        progress: &Progress,
    ) -> anyhow::Result<(Value, Duration)> {
        let begun = Instant::now();
        let threads = format!("compute.threads={}", self.threads);
        let out = self.out.display().to_string();
        let config = config.display().to_string();
        let arguments = [
            self.command,
            "--with-parent",
            "--events",
            "--out",
            &out,
            "--config",
            &config,
            "--set",
            &threads,
        ];
        let child = launcher.start(self.command, &arguments.map(str::to_owned))?;
        let mut stage = progress.stage(self.title);
        let result = follow(child, &mut stage).await?;
        let time = begun.elapsed();
        stage.finish(&format!("done in {:.0} s", time.as_secs_f64()));
        Ok((result, time))
    }
}

async fn follow(mut child: Child, stage: &mut Stage) -> anyhow::Result<Value> {
    let mut found = None;
    while let Some(line) = child.next_line().await? {
        match serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", child.name()))? {
            StageEvent::Progress { done, total, note } => stage.update(done, total, &note),
            StageEvent::Finished { result } => found = Some(result),
        }
    }
    child.wait().await?;
    let Some(result) = found else {
        bail!("{} ended without a result", child.name())
    };
    Ok(result)
}

//! The roles' processes of one run: one learner, one reward-server and some actors, started in the order in which they
//! need each other and ended in the order in which they stop being needed.

use super::processes::{Child, Launcher, stop_all};
use super::report::Process;
use crate::config::Config;
use crate::progress::Progress;
use crate::ready::{Ready, Role};
use anyhow::{Context as _, anyhow, bail};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::path::PathBuf;
use std::time::Duration;

/// How long a learner whose actors have failed is given to fail itself.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long processes of a failed run are given to end by themselves.
const ABANDONED: Duration = Duration::from_secs(2);

/// Files and directories of one run.
#[derive(Debug)]
pub(super) struct RunFiles {
    /// The resolved configuration.
    pub(super) config: PathBuf,
    /// The initial policy.
    pub(super) policy: PathBuf,
    /// Where the initial policy will be when the demo has finished.
    pub(super) policy_name: PathBuf,
    /// The reward model.
    pub(super) reward: PathBuf,
    /// Where images go.
    pub(super) store: PathBuf,
    /// Where the trained adapter goes.
    pub(super) adapter: PathBuf,
    /// Where the learner says what the run came to.
    pub(super) summary: PathBuf,
    /// Where actors put what they receive.
    pub(super) work: PathBuf,
}

/// The running processes.
#[derive(Debug)]
pub(super) struct Fleet {
    learner: Child,
    reward: Child,
    actors: Vec<Child>,
    ready: Vec<Ready>,
    drain: Duration,
}

impl Fleet {
    /// Starts all roles and waits until they serve.
    ///
    /// # Errors
    /// When one fails or takes too long; those already started are then killed.
    pub(super) async fn start(
        config: &Config,
        files: &RunFiles,
        launcher: &Launcher,
    ) -> anyhow::Result<Self> {
        let patience = Duration::from_secs(config.demo.start_timeout_s);
        let threads = &config.demo.threads;
        let flag = |flag: &str, path: &PathBuf| [flag.to_owned(), path.display().to_string()];
        let start = |role: Role, name: &str, threads: usize, more: Vec<[String; 2]>| {
            let threads = ["--set".to_owned(), format!("compute.threads={threads}")];
            let common = [
                flag("--config", &files.config),
                ["--listen".into(), "127.0.0.1:0".into()],
                threads,
            ];
            let first = [role.name().to_owned(), "--with-parent".to_owned()];
            let arguments: Vec<String> = first
                .into_iter()
                .chain(common.into_iter().chain(more).flatten())
                .collect();
            launcher.start(name, &arguments)
        };
        let store = || flag("--store", &files.store);
        let outputs = [
            flag("--policy-name", &files.policy_name),
            flag("--adapter", &files.adapter),
            flag("--summary", &files.summary),
        ];
        let learner_flags = [flag("--policy", &files.policy), store()]
            .into_iter()
            .chain(outputs)
            .collect();
        let mut learner = start(Role::Learner, "learner", threads.learner, learner_flags)?;
        let reward_flags = vec![flag("--model", &files.reward)];
        let mut reward = start(
            Role::RewardServer,
            "reward-server",
            threads.reward_server,
            reward_flags,
        )?;
        let learner_ready = until_ready(&mut learner, patience).await?;
        let reward_ready = until_ready(&mut reward, patience).await?;
        let mut actors = Vec::new();
        for number in 1..=config.demo.actors {
            let name = format!("actor-{number}");
            let flags = vec![
                ["--id".into(), name.clone()],
                ["--learner".into(), learner_ready.endpoint.clone()],
                ["--reward".into(), reward_ready.endpoint.clone()],
                flag("--work-dir", &files.work.join(&name)),
                store(),
            ];
            actors.push(start(Role::Actor, &name, threads.actor, flags)?);
        }
        let mut ready = vec![learner_ready, reward_ready];
        for actor in &mut actors {
            ready.push(until_ready(actor, patience).await?);
        }
        let drain = Duration::from_secs(config.demo.drain_timeout_s);
        Ok(Self {
            learner,
            reward,
            actors,
            ready,
            drain,
        })
    }

    /// Where the learner listens.
    pub(super) fn learner_endpoint(&self) -> &str {
        &self.ready[0].endpoint
    }

    /// All processes, as the report names them.
    pub(super) fn processes(&self) -> Vec<Process> {
        let process = |ready: &Ready| Process {
            role: ready.role.name().to_owned(),
            pid: ready.pid,
            endpoint: ready.endpoint.clone(),
        };
        self.ready.iter().map(process).collect()
    }

    /// Waits until the learner has finished, then ends the others. An actor may fail while another one goes on.
    ///
    /// # Errors
    /// When the learner, the reward-server or the last actor fails.
    pub(super) async fn finish(&mut self, progress: &Progress) -> anyhow::Result<()> {
        self.until_learner_ends(progress).await?;
        let waiting = futures::future::join_all(self.actors.iter_mut().map(Child::wait));
        let ended = tokio::time::timeout(self.drain, waiting)
            .await
            .unwrap_or_default();
        let failed = ended
            .into_iter()
            .filter_map(|end| end.err().map(|error| format!("{error:#}")));
        for failure in failed.chain(self.stop().await) {
            progress.say(&format!("warning: {failure}"));
        }
        Ok(())
    }

    async fn until_learner_ends(&mut self, progress: &Progress) -> anyhow::Result<()> {
        let mut going = self.actors.len();
        let mut actors: FuturesUnordered<_> = self.actors.iter_mut().map(Child::wait).collect();
        loop {
            tokio::select! {
                ended = self.learner.wait() => return ended,
                ended = self.reward.wait() => {
                    ended?;
                    bail!("the reward-server ended before the run was complete");
                }
                Some(ended) = actors.next() => {
                    going -= 1;
                    let Err(error) = ended else { continue };
                    if going > 0 {
                        progress.say(&format!("warning: the run goes on without an actor: {error:#}"));
                        continue;
                    }
                    // Actors fail because the learner has: then its words are those that matter.
                    let learner = tokio::time::timeout(LAST_WORDS, self.learner.wait()).await;
                    return learner.unwrap_or_else(|_| Err(error.context("no actor is left")));
                }
            }
        }
    }

    /// Asks every process to stop and waits for it; kills what does not.
    ///
    /// Returns what went wrong, one line a process.
    pub(super) async fn stop(&mut self) -> Vec<String> {
        self.stop_within(self.drain).await
    }

    /// The same after a failure, when nothing is left that is worth waiting for.
    pub(super) async fn abandon(&mut self) {
        self.stop_within(self.drain.min(ABANDONED)).await;
    }

    async fn stop_within(&mut self, deadline: Duration) -> Vec<String> {
        let mut failures = stop_all(&mut self.actors, deadline).await;
        for child in [&mut self.learner, &mut self.reward] {
            failures.extend(child.stop(deadline).await.err().map(|error| format!("{error:#}")));
        }
        failures
    }
}

async fn until_ready(child: &mut Child, patience: Duration) -> anyhow::Result<Ready> {
    let line = tokio::time::timeout(patience, child.next_line())
        .await
        .map_err(|_| anyhow!("{} was not ready within {} s", child.name(), patience.as_secs()))??;
    match line {
        Some(line) => serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", child.name())),
        None => {
            child.wait().await?;
            Err(anyhow!("{} ended before it was ready", child.name()))
        }
    }
}

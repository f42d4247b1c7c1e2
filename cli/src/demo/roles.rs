//! How a demo starts each role: the command line that an operator would type, with loopback addresses and the run's files.

use super::processes::{Child, Launcher};
use super::results::ADAPTER;
use crate::config::Config;
use crate::ready::Role;
use anyhow::Context as _;
use std::fs;
use std::path::{Path, PathBuf};

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
    /// Where the learner writes each step's metrics.
    pub(super) steps: PathBuf,
    /// Where actors put what they receive.
    pub(super) work: PathBuf,
    /// Where adapters wait to be measured.
    pub(super) versions: PathBuf,
}

impl RunFiles {
    /// Those of a run whose output is `directory`.
    pub(super) fn below(directory: &Path, policy: &Path, policy_name: &Path, reward: &Path) -> Self {
        Self {
            config: directory.join("config.toml"),
            policy: policy.to_owned(),
            policy_name: policy_name.to_owned(),
            reward: reward.to_owned(),
            store: directory.join("store"),
            adapter: directory.join(ADAPTER),
            summary: directory.join("run.json"),
            steps: directory.join("steps.jsonl"),
            work: directory.join("actors"),
            versions: directory.join("versions"),
        }
    }

    /// Removes what no user of the output needs: candidate images by the ten thousand, and copies of weights.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn clear_scratch(&self) -> anyhow::Result<()> {
        for directory in [&self.store, &self.work, &self.versions] {
            if directory.exists() {
                fs::remove_dir_all(directory)
                    .with_context(|| format!("cannot remove {}", directory.display()))?;
            }
        }
        Ok(())
    }
}

/// Starts the roles of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roles<'a> {
    /// How they are configured.
    pub(super) config: &'a Config,
    /// What they read and write.
    pub(super) files: &'a RunFiles,
    /// What starts them.
    pub(super) launcher: &'a Launcher,
}

impl Roles<'_> {
    /// Starts the learner.
    ///
    /// # Errors
    /// When the system starts no process.
    pub(super) fn learner(&self) -> anyhow::Result<Child> {
        let files = self.files;
        let flags = [
            path("--policy", &files.policy),
            path("--policy-name", &files.policy_name),
            path("--store", &files.store),
            path("--adapter", &files.adapter),
            path("--summary", &files.summary),
            path("--steps", &files.steps),
        ];
        let threads = self.config.demo.threads.learner;
        self.start(Role::Learner, "learner", threads, &flags)
    }

    /// Starts the reward-server.
    ///
    /// # Errors
    /// When the system starts no process.
    pub(super) fn reward_server(&self) -> anyhow::Result<Child> {
        let flags = [path("--model", &self.files.reward)];
        let threads = self.config.demo.threads.reward_server;
        self.start(Role::RewardServer, "reward-server", threads, &flags)
    }

    /// Starts actor `number`, which dials the two others.
    ///
    /// # Errors
    /// When the system starts no process.
    pub(super) fn actor(&self, number: usize, learner: &str, reward: &str) -> anyhow::Result<Child> {
        let name = format!("actor-{number}");
        let flags = [
            ["--id".into(), name.clone()],
            ["--learner".into(), learner.to_owned()],
            ["--reward".into(), reward.to_owned()],
            path("--work-dir", &self.files.work.join(&name)),
            path("--store", &self.files.store),
        ];
        self.start(Role::Actor, &name, self.config.demo.threads.actor, &flags)
    }

    fn start(&self, role: Role, name: &str, threads: usize, flags: &[[String; 2]]) -> anyhow::Result<Child> {
        let common = [
            path("--config", &self.files.config),
            ["--listen".into(), "127.0.0.1:0".into()],
            ["--set".into(), format!("compute.threads={threads}")],
        ];
        // One address cannot be all processes': each takes a free port of the host, and its log names it.
        let watched = self.config.telemetry.metrics_listen.rsplit_once(':');
        let watched = watched.map(|(host, _)| ["--metrics".into(), format!("{host}:0")]);
        let first = [role.name().to_owned(), "--with-parent".to_owned()];
        let flags = common.iter().chain(&watched).chain(flags).flatten().cloned();
        let arguments: Vec<String> = first.into_iter().chain(flags).collect();
        self.launcher.start(name, &arguments)
    }
}

fn path(flag: &str, path: &Path) -> [String; 2] {
    [flag.to_owned(), path.display().to_string()]
}

//! The policy and the reward model of an earlier demo, taken over instead of being trained again: what differs between two
//! runs is then stage C alone.

use super::report::Report;
use super::stages::Prepared;
use crate::config::{Config, Layers, Mistake};
use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, bail};
use models::ctr::RewardModel;
use models::device::parse_device;
use models::policy::Policy;
use reward_server::RewardReport;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const POLICY: &str = "policy";
const REWARD_MODEL: &str = "reward-model";

/// An earlier demo's output.
#[derive(Debug, Clone)]
pub(crate) struct Earlier {
    directory: PathBuf,
    reward_report: RewardReport,
}

impl Earlier {
    /// Reads `directory`.
    ///
    /// # Errors
    /// When it is no finished demo's output.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            reward_report: reward_report(directory)?,
            directory: directory.to_owned(),
        })
    }

    /// Why its stages A and B are not those that `config` asks for.
    pub(super) fn differences(&self, config: &Config) -> Vec<Mistake> {
        let theirs = Layers::default()
            .file(&self.directory.join("config.toml"))
            .resolve();
        match theirs {
            Ok(theirs) => differences(&self.directory, config, &theirs),
            Err(error) => error.mistakes,
        }
    }

    /// Its policy without the weights, as the configuration reads it.
    ///
    /// # Errors
    /// A mistake of configuration that names the file at fault.
    pub(super) fn policy(&self, config: &Config) -> Outcome<Policy> {
        let policy = Policy::without_weights(&self.directory.join(POLICY));
        let policy = policy.with_context(|| format!("--from {}", self.directory.display()));
        Ok(policy.or_configuration()?.read_as(&config.policy.reading()))
    }

    /// Reads both models, as whoever uses them will.
    ///
    /// # Errors
    /// A mistake of configuration that names the file at fault.
    pub(super) fn check_models(&self) -> Outcome<()> {
        let cpu = parse_device("cpu").or_configuration()?;
        let from = || format!("--from {}", self.directory.display());
        Policy::load(&self.directory.join(POLICY), &cpu)
            .with_context(from)
            .or_configuration()?;
        RewardModel::load(&self.directory.join(REWARD_MODEL), &cpu)
            .with_context(from)
            .or_configuration()?;
        Ok(())
    }

    /// Copies both models into `out`, which must exist.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub(super) fn copy_to(&self, out: &Path) -> anyhow::Result<Prepared> {
        let copy = |name: &str| -> anyhow::Result<PathBuf> {
            let to = out.join(name);
            copy_files(&self.directory.join(name), &to)?;
            Ok(to)
        };
        Ok(Prepared {
            policy: copy(POLICY)?,
            reward: copy(REWARD_MODEL)?,
            reward_report: self.reward_report.clone(),
            pretrain_time: Duration::ZERO,
            reward_time: Duration::ZERO,
        })
    }
}

fn reward_report(directory: &Path) -> anyhow::Result<RewardReport> {
    let path = directory.join("report.json");
    let read = || {
        format!(
            "--from {}: not the output of a finished demo",
            directory.display()
        )
    };
    let bytes = fs::read(&path)
        .with_context(|| format!("cannot read {}", path.display()))
        .with_context(read)?;
    let report: Report = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is malformed", path.display()))
        .with_context(read)?;
    for name in [POLICY, REWARD_MODEL] {
        if !directory.join(name).is_dir() {
            bail!("--from {}: has no directory {name}", directory.display());
        }
    }
    Ok(report.reward_model)
}

/// The tables that decide what stages A and B come to and that are not the same in both configurations.
fn differences(directory: &Path, ours: &Config, theirs: &Config) -> Vec<Mistake> {
    let tables = [
        ("run.seed", ours.run.seed == theirs.run.seed),
        ("compute.dtype", ours.compute.dtype == theirs.compute.dtype),
        ("shopworld", ours.shopworld == theirs.shopworld),
        ("corpus", ours.corpus == theirs.corpus),
        ("click_log", ours.click_log == theirs.click_log),
        ("policy", ours.policy == theirs.policy),
        ("pretrain", ours.pretrain == theirs.pretrain),
        ("reward", ours.reward == theirs.reward),
    ];
    let differs = |(key, equal): (&str, bool)| {
        (!equal).then(|| {
            let from = directory.display();
            let reason = format!("not as in {from}/config.toml, whose models --from takes over");
            Mistake::of_key(None, key, reason)
        })
    };
    tables.into_iter().filter_map(differs).collect()
}

/// Copies the files of a directory that has no directories.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        fs::copy(&source, &target)
            .with_context(|| format!("cannot copy {} to {}", source.display(), target.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_the_first_two_stages_is_named_and_nothing_else() {
        let theirs = Config::default();
        let mut ours = theirs.clone();
        ours.learner.versions += 1;
        ours.actor.group_size += 1;
        assert!(differences(Path::new("out"), &ours, &theirs).is_empty());
        ours.run.seed += 1;
        ours.reward.epochs += 1;
        let found = differences(Path::new("out"), &ours, &theirs);
        let keys: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(
            keys[0].starts_with("run.seed: not as in out/config.toml"),
            "{keys:?}"
        );
        assert!(keys[1].starts_with("reward: "), "{keys:?}");
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn a_directory_without_a_demo_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("{:#}", Earlier::open(directory.path()).unwrap_err());
        assert!(text.contains("not the output of a finished demo"), "{text}");
        assert!(text.contains("report.json"), "{text}");
    }
}

//! Where a demo's results go, so that nothing half-written is ever seen.
//!
//! A run writes into `<out>.unfinished` beside `<out>` and takes its place at the very end. A run that fails leaves only
//! its logs there. An earlier demo's output is replaced; a directory that is anything else is refused.

use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, anyhow};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

const REPORT: &str = "report.json";
const LOGS: &str = "logs";
const LOCK: &str = ".lock";

/// A directory being filled.
#[derive(Debug)]
pub(super) struct OutputDir {
    target: PathBuf,
    staging: PathBuf,
    lock: File,
    finished: bool,
}

impl OutputDir {
    /// Checks that `target` is free, empty or an earlier demo's output, and starts an empty directory beside it.
    ///
    /// # Errors
    /// A mistake of configuration when `target` holds something else or another demo is writing to it.
    pub(super) fn prepare(target: &Path) -> Outcome<Self> {
        check_replaceable(target).or_configuration()?;
        let target = std::path::absolute(target).or_configuration()?;
        let name = target
            .file_name()
            .ok_or_else(|| anyhow!("--out {} names no directory", target.display()));
        let mut name = name.or_configuration()?.to_owned();
        name.push(".unfinished");
        let staging = target.with_file_name(name);
        fs::create_dir_all(&staging)
            .with_context(|| format!("cannot make {}", staging.display()))
            .or_configuration()?;
        let lock = lock(&staging).or_configuration()?;
        clear(&staging, &[LOCK])?;
        Ok(Self {
            target,
            staging,
            lock,
            finished: false,
        })
    }

    /// Where files go meanwhile.
    pub(super) fn path(&self) -> &Path {
        &self.staging
    }

    /// Where they will be.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Puts the directory in its place.
    ///
    /// # Errors
    /// When the file system refuses; everything is then still beside its place.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        check_replaceable(&self.target)?;
        fs::remove_file(self.staging.join(LOCK)).context("cannot remove the lock file")?;
        let moved = |what: &str| format!("cannot {what} {}", self.target.display());
        if self.target.exists() {
            let old = self.target.with_extension("replaced");
            fs::rename(&self.target, &old).with_context(|| moved("replace"))?;
            fs::rename(&self.staging, &self.target).with_context(|| moved("write"))?;
            fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        } else {
            fs::rename(&self.staging, &self.target).with_context(|| moved("write"))?;
        }
        self.finished = true;
        self.lock.unlock().context("cannot release the lock file")
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = clear(&self.staging, &[LOGS]) {
            tracing::warn!(error = format!("{error:#}"), "unfinished output was not removed");
        }
    }
}

/// Checks that `target` is free, empty or an earlier demo's output.
///
/// # Errors
/// When it is anything else.
pub(super) fn check_replaceable(target: &Path) -> anyhow::Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let shown = target.display();
    if !target.is_dir() {
        return Err(anyhow!("--out {shown} is a file; name a directory"));
    }
    let mut entries = fs::read_dir(target).with_context(|| format!("--out {shown} cannot be read"))?;
    let ours = || {
        let report = fs::read(target.join(REPORT)).ok()?;
        serde_json::from_slice::<super::report::Report>(&report).ok()
    };
    if entries.next().is_none() || ours().is_some() {
        return Ok(());
    }
    Err(anyhow!(
        "--out {shown} is not empty and not the output of an earlier demo; name another directory or remove it"
    ))
}

fn lock(staging: &Path) -> anyhow::Result<File> {
    let path = staging.join(LOCK);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(anyhow!(
            "another demo is writing to {}; name another --out or wait for it",
            staging.display()
        )),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Removes everything in a directory but the names to keep, and the directory itself when it is then empty.
fn clear(directory: &Path, keep: &[&str]) -> anyhow::Result<()> {
    let context = || format!("cannot clear {}", directory.display());
    for entry in fs::read_dir(directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        if keep.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    // Fails, rightly, when something was kept.
    fs::remove_dir(directory).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn results_appear_only_when_finished() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("demo");
        let output = OutputDir::prepare(&target).unwrap();
        fs::write(output.path().join("curves.png"), "x").unwrap();
        assert!(!target.exists());
        output.finish().unwrap();
        assert_eq!(fs::read(target.join("curves.png")).unwrap(), b"x");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_run_leaves_its_logs_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let output = OutputDir::prepare(&parent.path().join("demo")).unwrap();
        let staging = output.path().to_owned();
        fs::create_dir(staging.join(LOGS)).unwrap();
        fs::write(staging.join(LOGS).join("learner.log"), "why").unwrap();
        fs::write(staging.join("report.json"), "{").unwrap();
        drop(output);
        let left: Vec<_> = fs::read_dir(&staging)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, [LOGS]);
    }

    #[test]
    fn a_failed_run_without_logs_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        drop(OutputDir::prepare(&parent.path().join("demo")).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_of_somebody_elses_is_refused_and_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("photos");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("holiday.jpg"), "x").unwrap();
        assert!(matches!(
            OutputDir::prepare(&target),
            Err(Failure::Configuration(_))
        ));
        assert!(target.join("holiday.jpg").exists());
        assert!(!parent.path().join("photos.unfinished").exists());
    }

    #[test]
    fn two_demos_cannot_write_to_one_directory() {
        let parent = tempfile::tempdir().unwrap();
        let first = OutputDir::prepare(&parent.path().join("demo")).unwrap();
        fs::write(first.path().join("half.bin"), "x").unwrap();
        assert!(OutputDir::prepare(&parent.path().join("demo")).is_err());
        assert!(
            first.path().join("half.bin").exists(),
            "the first demo's files are untouched"
        );
    }
}

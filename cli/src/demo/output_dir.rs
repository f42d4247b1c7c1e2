//! Where a demo's results go, so that nothing half-written is ever seen and nothing finished is ever lost.
//!
//! A run writes into `<out>.unfinished` beside `<out>` and takes its place at the very end. A run that fails leaves only
//! its logs there. An earlier demo's output is replaced; a directory that is anything else is refused. Results that cannot
//! be put in their place stay beside it.

mod lock;
mod refusals;

use crate::failure::{OrConfiguration as _, Outcome};
use crate::locations;
use anyhow::{Context as _, bail};
use lock::{LOCK, lock};
use refusals::{check_clearable, check_not_finished, check_replaceable};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const LOGS: &str = "logs";

/// A directory being filled.
#[derive(Debug)]
pub(super) struct OutputDir {
    target: PathBuf,
    staging: PathBuf,
    finished: bool,
    // The lock ends with the file.
    _lock: File,
}

/// Checks that a demo's output may go to `target`, and that it can be written. Nothing is left there.
///
/// # Errors
/// As [`OutputDir::prepare`], but for another demo that is writing there.
pub(super) fn check(target: &Path) -> Outcome<()> {
    let staging = staging(target).or_configuration()?;
    check_not_finished(&staging).or_configuration()?;
    locations::check_fillable(&staging, "--out")
}

/// Where files go meanwhile, when nothing else is there.
fn staging(target: &Path) -> anyhow::Result<PathBuf> {
    let shown = target.display();
    if locations::is_url(&target.to_string_lossy()) {
        bail!("--out {shown} is a URL; name a directory");
    }
    check_replaceable(target)?;
    let staging = sibling(&resolve(target)?, ".unfinished")?;
    check_clearable(&staging)?;
    Ok(staging)
}

impl OutputDir {
    /// Checks that `target` is free, empty or an earlier demo's output, and starts an empty directory beside it.
    ///
    /// # Errors
    /// A mistake of configuration when `target` or the directory beside it holds something else, or another demo is
    /// writing there.
    pub(super) fn prepare(target: &Path) -> Outcome<Self> {
        let staging = staging(target).or_configuration()?;
        let target = resolve(target).or_configuration()?;
        fs::create_dir_all(&staging)
            .with_context(|| format!("cannot make {}", staging.display()))
            .or_configuration()?;
        let lock = lock(&staging).or_configuration()?;
        check_not_finished(&staging).or_configuration()?;
        clear(&staging, &[LOCK])?;
        Ok(Self {
            target,
            staging,
            finished: false,
            _lock: lock,
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
    /// When the file system refuses, or somebody else has used the place meanwhile. The results are then still beside it,
    /// as the message says, and an earlier demo's output is where it was.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        // From here on nothing is cleared: results are worth more than order.
        self.finished = true;
        let (from, to) = (self.staging.display(), self.target.display());
        self.put_in_place()
            .with_context(|| format!("the results stay in {from}: they cannot be moved to {to}"))?;
        let lock = self.target.join(LOCK);
        if let Err(error) = fs::remove_file(&lock) {
            tracing::warn!(path = %lock.display(), %error, "the lock file was not removed");
        }
        Ok(())
    }

    fn put_in_place(&self) -> anyhow::Result<()> {
        check_replaceable(&self.target)?;
        if !self.target.exists() {
            return Ok(fs::rename(&self.staging, &self.target)?);
        }
        let aside = self.make_room()?;
        if let Err(error) = fs::rename(&self.staging, &self.target) {
            return match fs::rename(aside.path(), &self.target) {
                Ok(()) => Err(error.into()),
                Err(also) => {
                    let earlier = aside.keep();
                    let text = format!("the earlier output is now in {}: {also}", earlier.display());
                    Err(error).context(text)
                }
            };
        }
        if let Err(error) = aside.close() {
            tracing::warn!(%error, "the replaced output was not removed");
        }
        Ok(())
    }

    /// Moves what is in the place into a new directory beside it, whose name nobody else has.
    fn make_room(&self) -> anyhow::Result<tempfile::TempDir> {
        let beside = sibling(&self.target, ".replaced-")?;
        let (parent, name) = (beside.parent(), beside.file_name());
        let (parent, name) = parent.zip(name).context("it is a root directory")?;
        let aside = tempfile::Builder::new().prefix(name).tempdir_in(parent)?;
        fs::rename(&self.target, aside.path()).context("what is there cannot be moved aside")?;
        Ok(aside)
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let keep: &[&str] = if self.staging.join(LOGS).exists() {
            &[LOGS, LOCK]
        } else {
            &[]
        };
        if let Err(error) = clear(&self.staging, keep) {
            tracing::warn!(error = format!("{error:#}"), "unfinished output was not removed");
        }
    }
}

/// The directory itself where `--out` is a link to it: links are not replaced.
fn resolve(target: &Path) -> anyhow::Result<PathBuf> {
    let shown = target.display();
    if target.is_symlink() {
        return target
            .canonicalize()
            .with_context(|| format!("--out {shown} is a link that leads nowhere"));
    }
    std::path::absolute(target).with_context(|| format!("--out {target:?} names no directory"))
}

/// A path whose last name is longer by `suffix`.
fn sibling(target: &Path, suffix: &str) -> anyhow::Result<PathBuf> {
    let name = target
        .file_name()
        .with_context(|| format!("--out {} names no directory", target.display()))?;
    let mut name = name.to_owned();
    name.push(suffix);
    Ok(target.with_file_name(name))
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
    use super::refusals::{REPORT, has_report};
    use super::*;
    use crate::demo::report::{Report, examples::report};
    use crate::failure::Failure;

    pub(super) fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write_report(directory: &Path, seed: u64) {
        let report = serde_json::to_vec(&Report { seed, ..report() });
        fs::write(directory.join(REPORT), report.unwrap()).unwrap();
    }

    #[track_caller]
    pub(super) fn refused(target: &Path, words: &[&str]) {
        let refusal = OutputDir::prepare(target).unwrap_err();
        assert!(matches!(refusal, Failure::Configuration(_)));
        let text = refusal.to_string();
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }

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
        assert_eq!(names(&staging), [LOCK, LOGS]);
        let output = OutputDir::prepare(&parent.path().join("demo")).unwrap();
        assert_eq!(names(output.path()), [LOCK], "the next run begins with nothing");
    }

    #[test]
    fn a_failed_run_without_logs_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        drop(OutputDir::prepare(&parent.path().join("demo")).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
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

    #[test]
    fn an_earlier_demos_output_is_replaced_whatever_else_lies_beside_it() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("b0.5");
        for leftover in ["b0.replaced", "b0.5.replaced"] {
            fs::create_dir(parent.path().join(leftover)).unwrap();
            fs::write(parent.path().join(leftover).join("precious"), "x").unwrap();
        }
        for seed in [1, 2] {
            let output = OutputDir::prepare(&target).unwrap();
            write_report(output.path(), seed);
            fs::write(output.path().join(seed.to_string()), "x").unwrap();
            output.finish().unwrap();
        }
        assert_eq!(names(&target), ["2", REPORT]);
        assert_eq!(names(parent.path()), ["b0.5", "b0.5.replaced", "b0.replaced"]);
    }

    #[test]
    fn results_that_cannot_be_put_in_their_place_stay_beside_it_and_are_not_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("demo");
        let output = OutputDir::prepare(&target).unwrap();
        let staging = output.path().to_owned();
        write_report(&staging, 1);
        fs::create_dir(&target).unwrap();
        fs::write(target.join("holiday.jpg"), "x").unwrap();
        let message = format!("{:#}", output.finish().unwrap_err());
        assert!(message.contains(&staging.display().to_string()), "{message}");
        assert!(message.contains("not the output of an earlier demo"), "{message}");
        assert!(has_report(&staging) && target.join("holiday.jpg").exists());
        fs::remove_dir_all(&target).unwrap();
        refused(&target, &["demo.unfinished", "results that could not be moved"]);
        assert!(has_report(&staging));
    }

    #[test]
    fn an_earlier_output_is_put_back_when_the_new_one_cannot_take_its_place() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("demo");
        fs::create_dir(&target).unwrap();
        write_report(&target, 1);
        let output = OutputDir::prepare(&target).unwrap();
        fs::remove_dir_all(output.path()).unwrap();
        output.finish().unwrap_err();
        assert!(has_report(&target));
        assert_eq!(names(parent.path()), ["demo"]);
    }

    #[test]
    fn a_link_is_followed_and_one_that_leads_nowhere_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let (link, real) = (parent.path().join("link"), parent.path().join("real"));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        refused(&link, &["--out", "link", "nowhere"]);
        fs::create_dir(&real).unwrap();
        let output = OutputDir::prepare(&link).unwrap();
        write_report(output.path(), 1);
        output.finish().unwrap();
        assert!(link.is_symlink() && has_report(&real));
    }

    #[test]
    fn a_name_that_is_none_is_a_mistake_of_the_flag() {
        refused(Path::new(""), &["--out", "names no directory"]);
        refused(Path::new("/"), &["--out"]);
    }
}

//! What a demo refuses to replace or to clear, so that nothing of anybody else's is lost.

use super::lock::LOCK;
use crate::demo::report::Report;
use anyhow::{Context as _, anyhow, bail};
use std::fs;
use std::io;
use std::path::Path;

pub(super) const REPORT: &str = "report.json";

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
    if entries.next().is_none() || has_report(target) {
        return Ok(());
    }
    Err(anyhow!(
        "--out {shown} is not empty and not the output of an earlier demo; name another directory or remove it"
    ))
}

pub(super) fn has_report(directory: &Path) -> bool {
    let report = fs::read(directory.join(REPORT)).ok();
    report.is_some_and(|json| serde_json::from_slice::<Report>(&json).is_ok())
}

/// Only what a demo began may be cleared, whatever its name: nothing, an empty directory, or one with a demo's mark.
pub(super) fn check_clearable(staging: &Path) -> anyhow::Result<()> {
    let shown = staging.display();
    let found = match fs::symlink_metadata(staging) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.with_context(|| format!("cannot use {shown}"))?,
    };
    if !found.is_dir() {
        bail!("{shown} is in the way of unfinished output and no directory; name another --out or remove it");
    }
    let mut entries = fs::read_dir(staging).with_context(|| format!("cannot read {shown}"))?;
    if entries.next().is_some() && !staging.join(LOCK).exists() {
        bail!("{shown} is in the way of unfinished output and not a demo's; name another --out or remove it");
    }
    Ok(())
}

/// Results that could not be put in their place are somebody's to fetch.
pub(super) fn check_not_finished(staging: &Path) -> anyhow::Result<()> {
    if has_report(staging) {
        let shown = staging.display();
        bail!(
            "{shown} holds a demo's results that could not be moved; name another --out, move it or remove it"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::demo::output_dir::OutputDir;
    use crate::demo::output_dir::tests::{names, refused};
    use crate::failure::Failure;
    use std::fs;

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
    fn what_no_demo_began_is_never_cleared_whatever_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("thesis");
        let staging = parent.path().join("thesis.unfinished");
        fs::create_dir(&staging).unwrap();
        fs::write(staging.join("chapter-1"), "x").unwrap();
        refused(&target, &["thesis.unfinished", "not a demo's"]);
        assert_eq!(names(&staging), ["chapter-1"]);

        let elsewhere = parent.path().join("elsewhere");
        fs::rename(&staging, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &staging).unwrap();
        refused(&target, &["thesis.unfinished", "no directory"]);
        assert_eq!(names(&elsewhere), ["chapter-1"]);
    }
}

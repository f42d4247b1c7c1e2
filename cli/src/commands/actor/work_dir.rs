//! Where an actor keeps the weights that it receives: a directory that was named, or one of its own that goes when it goes.
//!
//! A process that is killed removes nothing. Each directory of an actor's own therefore holds a file that is locked as long as its
//! process lives, and every actor that starts without a named one removes those of its user whose lock is free.

use anyhow::Context as _;
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What the names of such directories begin with.
const PREFIX: &str = "adwright-actor-";

/// The file that is locked while the actor lives.
const LOCK: &str = ".in-use";

/// Where received weights lie. An actor's state is worth nothing after it: without `--work-dir` it is removed.
pub(super) enum WorkDir {
    Given(PathBuf),
    Temporary {
        directory: TempDir,
        /// `None` where the file system knows no locks: then nobody can tell that the actor is dead.
        _lock: Option<File>,
    },
}

impl WorkDir {
    /// The directory `given`, or a new one beside those of other actors; what dead ones have left there is removed.
    ///
    /// # Errors
    /// When no directory can be made.
    pub(super) fn new(given: Option<PathBuf>) -> anyhow::Result<Self> {
        match given {
            Some(path) => Ok(Self::Given(path)),
            None => Self::temporary(&std::env::temp_dir()),
        }
    }

    fn temporary(parent: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))
            .context("cannot make a temporary directory; name one with --work-dir")?;
        let locked = lock(directory.path());
        if let Err(error) = &locked {
            let directory = directory.path().display();
            tracing::debug!(%directory, %error, "no lock: should this actor be killed, its directory stays");
        }
        remove_left_behind(parent, directory.path());
        Ok(Self::Temporary {
            directory,
            _lock: locked.ok(),
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Given(path) => path.clone(),
            Self::Temporary { directory, .. } => directory.path().to_owned(),
        }
    }
}

/// The lock of a new directory. The file has its name only once it is locked: whoever finds it free finds that of a dead process.
fn lock(directory: &Path) -> io::Result<File> {
    let unnamed = directory.join(".in-use.new");
    let file = File::create_new(&unnamed)?;
    file.try_lock()?;
    fs::rename(unnamed, directory.join(LOCK))?;
    Ok(file)
}

/// Removes the directories of dead actors in `parent`, but never `own`. What cannot be looked at or removed is no fault of this actor.
fn remove_left_behind(parent: &Path, own: &Path) {
    let (Ok(entries), Ok(ours)) = (fs::read_dir(parent), fs::metadata(own)) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX) && path != own;
        // Anybody can make a directory of such a name, or a link, where everybody keeps temporary files.
        let is_of_our_user =
            || fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir() && it.uid() == ours.uid());
        if !is_one || !is_of_our_user() {
            continue;
        }
        let Ok(_held) = lock_of_dead(&path) else {
            continue;
        };
        match fs::remove_dir_all(&path) {
            Ok(()) => {
                tracing::info!(directory = %path.display(), "removed what an actor that was killed had left")
            }
            Err(error) => {
                tracing::warn!(directory = %path.display(), %error, "cannot remove what an actor that was killed has left")
            }
        }
    }
}

/// The lock of a directory whose process is gone.
fn lock_of_dead(directory: &Path) -> Result<File, TryLockError> {
    // Some network file systems lock only what may be written.
    let opened = File::options().read(true).write(true).open(directory.join(LOCK));
    let file = opened.map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_temporary_directory_is_the_owners_alone_and_ends_with_the_actor() {
        let parent = tempfile::tempdir().unwrap();
        let work = WorkDir::temporary(parent.path()).unwrap();
        let path = work.path();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(work);
        assert!(!path.exists());
    }

    /// As a killed process leaves it: unlocked, with what had come.
    fn killed(parent: &Path) -> PathBuf {
        let WorkDir::Temporary { directory, _lock } = WorkDir::temporary(parent).unwrap() else {
            panic!("none was named")
        };
        let path = directory.keep();
        fs::write(path.join("weights"), "many").unwrap();
        path
    }

    #[test]
    fn what_a_killed_actor_has_left_goes_when_the_next_one_starts_and_nothing_else_does() {
        let parent = tempfile::tempdir().unwrap();
        let living = WorkDir::temporary(parent.path()).unwrap();
        let dead = killed(parent.path());
        let elsewhere = tempfile::tempdir().unwrap();
        let linked = killed(elsewhere.path());
        symlink(&linked, parent.path().join("adwright-actor-link")).unwrap();
        let others = ["adwright-actor-without-a-lock", "others"].map(|name| parent.path().join(name));
        for other in &others {
            fs::create_dir(other).unwrap();
        }
        fs::write(others[1].join(LOCK), "").unwrap();
        let next = WorkDir::temporary(parent.path()).unwrap();
        assert!(!dead.exists());
        for kept in [&living.path(), &next.path(), &linked, &others[0], &others[1]] {
            assert!(kept.exists(), "{}", kept.display());
        }
        assert!(linked.join("weights").exists());
    }

    #[test]
    fn a_directory_that_was_named_stays_and_nobody_is_cleared_away_for_it() {
        let parent = tempfile::tempdir().unwrap();
        let given = parent.path().join("weights");
        fs::create_dir(&given).unwrap();
        let work = WorkDir::new(Some(given.clone())).unwrap();
        assert_eq!(work.path(), given);
        drop(work);
        assert!(given.exists());
    }

    #[test]
    fn where_no_directory_can_be_made_it_is_said_which_flag_helps() {
        let error = WorkDir::temporary(Path::new("/nowhere")).map(|_| ()).unwrap_err();
        let words = format!("{error:#}");
        assert!(
            words.contains("--work-dir") && words.contains("/nowhere"),
            "{words}"
        );
    }
}

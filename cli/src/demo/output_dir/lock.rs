//! The file that a demo holds while it writes, so that two never write into one directory.

use anyhow::{Context as _, anyhow};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Marks a directory as one that a demo may clear. Held while a demo writes, kept as long as anything is left of it.
pub(super) const LOCK: &str = ".adwright-lock";

/// Takes the lock of a directory; it ends with the file.
///
/// # Errors
/// When another demo has it, or it cannot be written.
pub(super) fn lock(staging: &Path) -> anyhow::Result<File> {
    let path = staging.join(LOCK);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        // A demo that ended between the two calls has taken the file away.
        Ok(()) if is_at(&file, &path) => Ok(file),
        Ok(()) | Err(TryLockError::WouldBlock) => Err(anyhow!(
            "another demo is writing to {}; name another --out or wait for it",
            staging.display()
        )),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let there = fs::metadata(path).and_then(|there| Ok((there, file.metadata()?)));
    there.is_ok_and(|(there, own)| (there.dev(), there.ino()) == (own.dev(), own.ino()))
}

//! Directories that were brought to this machine, each below the digest of its inventory.
//!
//! Two directories under one URL, one after the other, are two entries. Processes that want the same one share it: one of them
//! brings it, the others wait at its lock. An entry gets its name when all of it is there, and is checked whenever it is asked
//! for.

use crate::StoreError;
use crate::part::{Source, Wanted, blocking, fault};
use common::Digest;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Files that are brought or checked at a time.
const AT_A_TIME: usize = 4;

/// Told of the bytes that are there and of those there will be.
pub type Told<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// A directory that is on this machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Where it lies.
    pub directory: PathBuf,
    /// Of its inventory: what names it.
    pub digest: Digest,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, those that came over the network this time.
    pub came: u64,
}

/// Brings the files of an inventory into `cache`, below the inventory's digest, as far as they are not there.
///
/// # Errors
/// [`StoreError::Damaged`] naming the file, [`StoreError::File`], and what the source fails with. What came stays for the next
/// try.
pub(crate) async fn bring(
    source: &impl Source,
    files: &[Wanted],
    digest: Digest,
    cache: &Path,
    told: &Told<'_>,
) -> Result<Brought, StoreError> {
    make(cache).await?;
    let name = digest.hex();
    let _alone = lock(cache.join(format!("{name}.lock"))).await?;
    let (whole, partial) = (cache.join(&name), cache.join(format!("{name}.partial")));
    let is_there = whole.is_dir();
    let place = if is_there { &whole } else { &partial };
    make(place).await?;
    let (bytes, done) = (files.iter().map(|file| file.bytes).sum(), AtomicU64::new(0));
    let add = |more| told((done.fetch_add(more, Relaxed) + more).min(bytes), bytes);
    let add = &add;
    let came: Vec<u64> = stream::iter(files)
        .map(|wanted| async move {
            let path = place.join(&wanted.name);
            if wanted.is_at(&path).await? {
                add(wanted.bytes);
                return Ok::<_, StoreError>(0);
            }
            if is_there {
                tracing::warn!(file = %path.display(), "damaged in the cache; it is brought again");
            }
            make(path.parent().unwrap_or(place)).await?;
            wanted.bring(source, &path, add).await
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    if !is_there {
        let renamed = tokio::fs::rename(&partial, &whole).await;
        renamed.map_err(fault("make", &whole))?;
    }
    Ok(Brought {
        directory: whole,
        digest,
        files: files.len(),
        bytes,
        came: came.iter().sum(),
    })
}

/// Holds the lock of a file until it is dropped; the system gives it back when its process dies.
pub(crate) async fn lock(path: PathBuf) -> Result<File, StoreError> {
    let held = path.clone();
    let wait = move || {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&held)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                tracing::info!(lock = %held.display(), "another process brings the same; waiting for it");
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        Ok(file)
    };
    let locked = blocking(wait).await;
    locked.map_err(fault("lock", &path))
}

pub(crate) async fn make(directory: &Path) -> Result<(), StoreError> {
    let made = tokio::fs::create_dir_all(directory).await;
    made.map_err(fault("make", directory))
}

//! A checkpoint brought into a directory of this machine, whole or not at all.

use super::{Checkpoints, Manifest};
use crate::error::LearnerError;
use common::{PolicyVersion, RunId};
use models::peft::ADAPTER_WEIGHTS;
use serde::Serialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use store::{Store, StoreError};

/// The manifest in a pulled directory.
const MANIFEST: &str = "manifest.json";

/// The optimizer's moments in a pulled directory.
const OPTIMIZER: &str = "optimizer.safetensors";

/// A checkpoint in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// Its version.
    pub version: PolicyVersion,
    /// The directory: `manifest.json`, `adapter_model.safetensors`, `optimizer.safetensors`.
    pub directory: PathBuf,
    /// Bytes of its contents.
    pub bytes: u64,
    /// Of these, those that came over the network; what an earlier try had brought did not.
    pub fetched: u64,
}

/// Brings the checkpoint of `version`, or the one that a start would go on from, into `directory`, which must not exist or be
/// empty. Contents are checked against their digests; the directory has its name only when all of them are there. A pull that
/// was interrupted goes on in `<directory>.partial`. Retention leaves a checkpoint alone while it is pulled.
///
/// # Errors
/// [`LearnerError::Store`] when it is not there or damaged, or the store cannot be read; [`LearnerError::Checkpoint`];
/// [`LearnerError::File`].
pub async fn pull_checkpoint(
    store: &Store,
    run: &RunId,
    version: Option<PolicyVersion>,
    directory: &Path,
) -> Result<Pulled, LearnerError> {
    let checkpoints = Checkpoints::of(store, run);
    if let Some(version) = version {
        return checkpoints.pull(version, directory).await;
    }
    let mut first = None;
    for version in checkpoints.order().await?.versions {
        match checkpoints.pull(version, directory).await {
            Ok(pulled) => return Ok(pulled),
            // Only the checkpoint itself may be passed over.
            Err(
                error @ (LearnerError::Checkpoint { .. }
                | LearnerError::Store(StoreError::NotFound { .. } | StoreError::Damaged { .. })),
            ) => {
                tracing::warn!(%version, %error, "checkpoint passed over");
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| checkpoints.none()))
}

impl Checkpoints {
    async fn pull(&self, version: PolicyVersion, directory: &Path) -> Result<Pulled, LearnerError> {
        let (manifest, pin) = self.pin(version).await?;
        let pulled = self.pull_pinned(&manifest, directory).await;
        pin.release().await;
        pulled
    }

    async fn pull_pinned(&self, manifest: &Manifest, directory: &Path) -> Result<Pulled, LearnerError> {
        let mut name: OsString = directory.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        std::fs::create_dir_all(&partial).map_err(LearnerError::file("make", &partial))?;
        let contents = [
            (ADAPTER_WEIGHTS, manifest.adapter),
            (OPTIMIZER, manifest.optimizer),
        ];
        let (mut bytes, mut fetched) = (0, 0);
        for (name, digest) in contents {
            let (key, path) = (store::content_key(&self.parts(), &digest), partial.join(name));
            fetched += self.store.fetch(&key, &digest, &path).await?;
            bytes += std::fs::metadata(&path)
                .map_err(LearnerError::file("read", &path))?
                .len();
        }
        let json = serde_json::to_vec_pretty(manifest).expect("plain values have a JSON form");
        let path = partial.join(MANIFEST);
        std::fs::write(&path, json).map_err(LearnerError::file("write", &path))?;
        std::fs::rename(&partial, directory).map_err(LearnerError::file("make", directory))?;
        Ok(Pulled {
            version: manifest.version,
            directory: directory.to_owned(),
            bytes,
            fetched,
        })
    }
}

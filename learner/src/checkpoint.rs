//! Checkpoints of a run: everything a later start needs to go on as if nothing had happened.
//!
//! A checkpoint is its manifest, which is written once and last: weights and optimizer are stored under their digests before.
//! So what can be found is whole. The newest is the one of the highest learner epoch and version; one that cannot be read is
//! passed over with a warning; a rollback leaves newer ones behind. The records before its cursor are in its weights, those
//! behind it are still to be trained.

mod export;
mod keeper;
mod manifest;
mod pin;
mod pull;
mod retention;
mod rollback;
mod view;

pub use export::{ExportedAdapter, export_adapter};
pub(crate) use keeper::{Keeper, Kept, keep};
pub(crate) use manifest::{BaseFile, Checkpoint, Manifest, Start, Unwritten};
pub use pull::{Pulled, pull_checkpoint};
pub(crate) use retention::Settled;
pub use rollback::{RolledBack, roll_back};
pub use view::{CheckpointContent, CheckpointLine, list_checkpoints};

use crate::error::LearnerError;
use common::{LearnerEpoch, PolicyVersion, RunId};
use failpoint::Point;
use store::{Store, StoreError, content_key};

/// How the name of a manifest begins and ends; the epoch and the version's number stand in between.
const MANIFEST: (&str, &str) = ("manifest-", ".json");

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    store: Store,
    place: String,
}

/// The versions that have a checkpoint, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Those that the run may go on from.
    pub(crate) versions: Vec<PolicyVersion>,
    /// Those that a rollback has left behind.
    pub(crate) left_behind: Vec<PolicyVersion>,
    /// The one that it names.
    pub(crate) rolled_back_to: Option<PolicyVersion>,
}

impl Order {
    /// The one that a rollback names, if it is gone and nothing was written since.
    fn lost(&self) -> Option<PolicyVersion> {
        let newest = self.versions.first();
        self.rolled_back_to
            .filter(|to| newest.is_none_or(|newest| newest < to))
    }
}

impl Checkpoints {
    /// Those of a run in its store.
    pub(crate) fn of(store: &Store, run: &RunId) -> Self {
        Self {
            store: store.synced(),
            place: format!("runs/{run}/checkpoints"),
        }
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// [`LearnerError::Store`]; a version that has one already is never replaced.
    pub(crate) async fn write(&self, checkpoint: Checkpoint) -> Result<(), LearnerError> {
        let Checkpoint {
            manifest,
            adapter,
            optimizer,
        } = checkpoint;
        for (bytes, digest) in [(adapter, manifest.adapter), (optimizer, manifest.optimizer)] {
            // Another version may have the same. It is written again, so that it is not older than its manifest.
            let key = content_key(&self.parts(), &digest);
            failpoint::during(Point::CheckpointUpload, self.store.put_large(&key, bytes)).await?;
        }
        failpoint::reach(Point::CheckpointUploaded);
        self.write_manifest(&manifest).await
    }

    /// Writes what makes a checkpoint of contents that are there. One that is there already stays as it is.
    async fn write_manifest(&self, manifest: &Manifest) -> Result<(), LearnerError> {
        let json = serde_json::to_vec_pretty(manifest).expect("plain values have a JSON form");
        Ok(self.store.create(&self.key(manifest.version), json).await?)
    }

    /// The versions that have one, in the order in which a start looks at them.
    ///
    /// # Errors
    /// [`LearnerError::Store`], [`LearnerError::Checkpoint`] when a rollback cannot be read.
    pub(crate) async fn order(&self) -> Result<Order, LearnerError> {
        let keys = self.store.list(&self.place).await?;
        let rollback = self.rollback(&keys).await?;
        let mut versions: Vec<_> = keys.iter().filter_map(|key| version_of(key)).collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        let is_kept = |version: &PolicyVersion| rollback.as_ref().is_none_or(|back| back.keeps(*version));
        let (versions, left_behind) = versions.into_iter().partition(is_kept);
        Ok(Order {
            versions,
            left_behind,
            rolled_back_to: rollback.map(|rollback| rollback.to()),
        })
    }

    /// What the manifest of a version says.
    ///
    /// # Errors
    /// [`LearnerError::Checkpoint`] when it is none, [`LearnerError::Store`].
    pub(crate) async fn manifest(&self, version: PolicyVersion) -> Result<Manifest, LearnerError> {
        let key = self.key(version);
        let json = self.store.get(&key).await?;
        let fault = |reason: String| self.fault(&key, reason);
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| fault(error.to_string()))?;
        if manifest.format != manifest::FORMAT {
            let (found, expected) = (manifest.format, manifest::FORMAT);
            return Err(fault(format!("format {found}, expected {expected}")));
        }
        if manifest.version != version {
            return Err(fault(format!("it is of version {}", manifest.version)));
        }
        Ok(manifest)
    }

    fn fault(&self, key: &str, reason: String) -> LearnerError {
        LearnerError::Checkpoint {
            key: key.to_owned(),
            url: self.store.url().to_string(),
            reason,
        }
    }

    /// The checkpoint of a version, its contents checked against their digests.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub(crate) async fn read(&self, version: PolicyVersion) -> Result<Checkpoint, LearnerError> {
        self.whole(self.manifest(version).await?).await
    }

    /// The checkpoint of a manifest, its contents checked against their digests.
    async fn whole(&self, manifest: Manifest) -> Result<Checkpoint, LearnerError> {
        let parts = self.parts();
        Ok(Checkpoint {
            adapter: self.store.get_content(&parts, &manifest.adapter).await?,
            optimizer: self.store.get_content(&parts, &manifest.optimizer).await?,
            manifest,
        })
    }

    /// The newest that is whole; `None` when there is none at all.
    ///
    /// # Errors
    /// The newest one's when none can be read, [`LearnerError::Checkpoint`] when there is none of those that a rollback lets a run go on from,
    /// [`LearnerError::Store`] when the store cannot be read.
    pub(crate) async fn newest(&self) -> Result<Option<Checkpoint>, LearnerError> {
        let mut first = None;
        let order = self.order().await?;
        if let Some(to) = order.lost() {
            let reason = format!(
                "the run was rolled back to {to}, whose checkpoint is gone: roll it back to one that `adwright checkpoint list` shows"
            );
            let gone = self.fault(&self.key(to), reason);
            tracing::warn!(error = %gone, "checkpoint passed over");
            first = Some(gone);
        }
        for version in order.versions {
            match self.read(version).await {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(LearnerError::Store(
                    error @ (StoreError::Backend { .. } | StoreError::Denied { .. }),
                )) => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::warn!(%version, %error, "checkpoint passed over");
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// Whether a version has one now.
    async fn has(&self, version: PolicyVersion) -> Result<bool, LearnerError> {
        Ok(self.store.exists(&self.key(version)).await?)
    }

    /// There is none at all.
    fn none(&self) -> LearnerError {
        StoreError::NotFound {
            key: format!("{}/manifest-*.json", self.place),
            url: self.store.url().to_string(),
        }
        .into()
    }

    fn key(&self, version: PolicyVersion) -> String {
        let (begin, end) = MANIFEST;
        format!(
            "{}/{begin}{}-{}{end}",
            self.place, version.epoch.0, version.number
        )
    }

    fn parts(&self) -> String {
        format!("{}/parts", self.place)
    }
}

/// The version in the name of a manifest.
fn version_of(key: &str) -> Option<PolicyVersion> {
    let (begin, end) = MANIFEST;
    let name = key.rsplit('/').next()?.strip_prefix(begin)?.strip_suffix(end)?;
    let (epoch, number) = name.split_once('-')?;
    Some(PolicyVersion {
        epoch: LearnerEpoch(epoch.parse().ok()?),
        number: number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests;

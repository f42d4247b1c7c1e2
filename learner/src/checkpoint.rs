//! Checkpoints of a run: everything a later start needs to go on as if nothing had happened.
//!
//! A checkpoint is its manifest, which is written once and last: weights and optimizer are stored under their digests before.
//! So what can be found is whole. The newest is the one of the highest learner epoch and version; one that cannot be read is
//! passed over with a warning. The records before its cursor are in its weights, those behind it are still to be trained.

mod keeper;
mod view;

pub(crate) use keeper::{Keeper, Kept, keep};
pub use view::{CheckpointContent, CheckpointLine, list_checkpoints};

use crate::account::Account;
use crate::config::LearnerConfig;
use crate::error::LearnerError;
use bytes::Bytes;
use common::{Digest, LearnerEpoch, PolicyVersion, RunId};
use failpoint::Point;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, content_key};

/// The form of a manifest that this program writes, and the only one it reads.
const FORMAT: u32 = 1;

/// How the name of a manifest begins and ends; the epoch and the version's number stand in between.
const MANIFEST: (&str, &str) = ("manifest-", ".json");

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Form of this manifest.
    pub(crate) format: u32,
    /// The version.
    pub(crate) version: PolicyVersion,
    /// The checkpoint that its learner's start went on from; `None` when it began the run.
    pub(crate) parent: Option<PolicyVersion>,
    /// The adapter's weights (`adapter_model.safetensors`).
    pub(crate) adapter: Digest,
    /// The optimizer's moments (safetensors, under the names of the adapter's parameters).
    pub(crate) optimizer: Digest,
    /// Optimizer steps taken; the learning rate and all draws follow from them and the version.
    pub(crate) steps: u64,
    /// Where the run stands in its ledger.
    pub(crate) account: Account,
    /// Digest of the frozen base's files, so that nobody goes on with another base.
    pub(crate) base: Digest,
    /// The settings.
    pub(crate) config: LearnerConfig,
}

/// A checkpoint with its contents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// What it says.
    pub(crate) manifest: Manifest,
    /// The adapter's weights.
    pub(crate) adapter: Bytes,
    /// The optimizer's moments.
    pub(crate) optimizer: Bytes,
}

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    store: Store,
    place: String,
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
            let key = content_key(&self.parts(), &digest);
            match failpoint::during(Point::CheckpointUpload, self.store.create(&key, bytes)).await {
                // Another version may have the same.
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        failpoint::reach(Point::CheckpointUploaded);
        let json = serde_json::to_vec_pretty(&manifest).expect("plain values have a JSON form");
        Ok(self.store.create(&self.key(manifest.version), json).await?)
    }

    /// The versions that have one, oldest first.
    ///
    /// # Errors
    /// [`LearnerError::Store`].
    pub(crate) async fn versions(&self) -> Result<Vec<PolicyVersion>, LearnerError> {
        let keys = self.store.list(&self.place).await?;
        let mut versions: Vec<_> = keys.iter().filter_map(|key| version_of(key)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// What the manifest of a version says.
    ///
    /// # Errors
    /// [`LearnerError::Checkpoint`] when it is none, [`LearnerError::Store`].
    pub(crate) async fn manifest(&self, version: PolicyVersion) -> Result<Manifest, LearnerError> {
        let key = self.key(version);
        let json = self.store.get(&key).await?;
        let fault = |reason: String| LearnerError::Checkpoint {
            key: key.clone(),
            url: self.store.url().to_string(),
            reason,
        };
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| fault(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(fault(format!("format {}, expected {FORMAT}", manifest.format)));
        }
        if manifest.version != version {
            return Err(fault(format!("it is of version {}", manifest.version)));
        }
        Ok(manifest)
    }

    /// The checkpoint of a version, its contents checked against their digests.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub(crate) async fn read(&self, version: PolicyVersion) -> Result<Checkpoint, LearnerError> {
        let (manifest, parts) = (self.manifest(version).await?, self.parts());
        Ok(Checkpoint {
            adapter: self.store.get_content(&parts, &manifest.adapter).await?,
            optimizer: self.store.get_content(&parts, &manifest.optimizer).await?,
            manifest,
        })
    }

    /// The newest that is whole; `None` when there is none at all.
    ///
    /// # Errors
    /// The newest one's when none can be read, [`LearnerError::Store`] when the store cannot.
    pub(crate) async fn newest(&self) -> Result<Option<Checkpoint>, LearnerError> {
        let mut first = None;
        for version in self.versions().await?.into_iter().rev() {
            match self.read(version).await {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(LearnerError::Store(error @ StoreError::Backend { .. })) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%version, %error, "checkpoint passed over");
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// Removes all but the newest `keep`, and what no kept one refers to.
    ///
    /// # Errors
    /// [`LearnerError::Store`].
    pub(crate) async fn retain(&self, keep: usize) -> Result<(), LearnerError> {
        let versions = self.versions().await?;
        let (old, kept) = versions.split_at(versions.len().saturating_sub(keep));
        if old.is_empty() {
            return Ok(());
        }
        // The manifest goes first: what can be found is always whole.
        for version in old {
            self.store.delete(&self.key(*version)).await?;
        }
        failpoint::reach(Point::CheckpointRetire);
        let mut used = vec![];
        for version in kept {
            let manifest = self.manifest(*version).await?;
            used.extend([manifest.adapter, manifest.optimizer].map(|part| content_key(&self.parts(), &part)));
        }
        for key in self.store.list(&self.parts()).await? {
            if !used.contains(&key) {
                self.store.delete(&key).await?;
            }
        }
        Ok(())
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

impl Manifest {
    /// A manifest without contents yet, of the form that is written today.
    pub(crate) fn new(
        version: PolicyVersion,
        parent: Option<PolicyVersion>,
        steps: u64,
        account: Account,
        base: Digest,
        config: LearnerConfig,
    ) -> Self {
        let nothing = store::digest(&[]);
        Self {
            format: FORMAT,
            version,
            parent,
            adapter: nothing,
            optimizer: nothing,
            steps,
            account,
            base,
            config,
        }
    }

    /// The checkpoint of this manifest with these contents.
    pub(crate) fn with(self, adapter: Bytes, optimizer: Bytes) -> Checkpoint {
        Checkpoint {
            manifest: Self {
                adapter: store::digest(&adapter),
                optimizer: store::digest(&optimizer),
                ..self
            },
            adapter,
            optimizer,
        }
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
mod tests {
    use super::*;
    use crate::account::Refused;

    fn version(epoch: u64, number: u64) -> PolicyVersion {
        PolicyVersion {
            epoch: LearnerEpoch(epoch),
            number,
        }
    }

    fn checkpoint(epoch: u64, number: u64) -> Checkpoint {
        let account = Account {
            cursor: 9,
            trained: 8,
            refused: Refused::default(),
        };
        let base = store::digest(b"base");
        let manifest = Manifest::new(
            version(epoch, number),
            None,
            16,
            account,
            base,
            LearnerConfig::default(),
        );
        manifest.with(
            format!("adapter {number}").into(),
            format!("moments {epoch} {number}").into(),
        )
    }

    fn checkpoints(run: &str, store: &Store) -> Checkpoints {
        Checkpoints::of(store, &RunId::new(run).unwrap())
    }

    #[tokio::test]
    async fn i10_the_newest_whole_checkpoint_is_found_and_a_damaged_one_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = Store::open(&format!("file://{}", directory.path().display())).unwrap();
        for store in [Store::open("memory:///").unwrap(), file] {
            let run = checkpoints("a", &store);
            assert_eq!(run.newest().await.unwrap(), None);
            for (epoch, number) in [(1, 9), (1, 10), (2, 3)] {
                run.write(checkpoint(epoch, number)).await.unwrap();
            }
            let newest = run.newest().await.unwrap().unwrap();
            assert_eq!(newest, checkpoint(2, 3));
            assert_eq!(checkpoints("b", &store).newest().await.unwrap(), None);
            // Its weights are lost, the next one's are not what they were.
            store
                .delete(&content_key(&run.parts(), &newest.manifest.adapter))
                .await
                .unwrap();
            assert_eq!(run.newest().await.unwrap(), Some(checkpoint(1, 10)));
            let damaged = content_key(&run.parts(), &checkpoint(1, 10).manifest.optimizer);
            store.put(&damaged, &b"something else"[..]).await.unwrap();
            assert_eq!(run.newest().await.unwrap(), Some(checkpoint(1, 9)));
            store.put(&run.key(version(1, 9)), &b"{}"[..]).await.unwrap();
            let error = run.newest().await.unwrap_err().to_string();
            assert!(error.contains("runs/a/checkpoints"), "{error}");
        }
    }

    #[tokio::test]
    async fn i4_the_checkpoint_of_a_version_is_never_replaced() {
        let store = Store::open("memory:///").unwrap();
        let run = checkpoints("a", &store);
        run.write(checkpoint(1, 1)).await.unwrap();
        let refusal = run.write(checkpoint(1, 1)).await.unwrap_err();
        assert!(
            matches!(refusal, LearnerError::Store(StoreError::Exists { .. })),
            "{refusal}"
        );
    }

    #[tokio::test]
    async fn old_ones_go_with_what_they_alone_refer_to() {
        let store = Store::open("memory:///").unwrap();
        let run = checkpoints("a", &store);
        for (epoch, number) in [(1, 1), (1, 2), (2, 2), (2, 3)] {
            run.write(checkpoint(epoch, number)).await.unwrap();
            run.retain(2).await.unwrap();
        }
        assert_eq!(run.versions().await.unwrap(), [version(2, 2), version(2, 3)]);
        // Version 2 of both epochs has the same adapter.
        assert_eq!(store.list(&run.parts()).await.unwrap().len(), 4);
        for (epoch, number) in [(2, 2), (2, 3)] {
            assert_eq!(
                run.read(version(epoch, number)).await.unwrap(),
                checkpoint(epoch, number)
            );
        }
    }
}

//! Which checkpoints are kept, and when what nobody needs goes.
//!
//! A checkpoint counts as kept only when it can be gone on from, as far as the list of its contents tells: damaged ones push no
//! good one out. Contents go with the manifest that needed them, unless a kept one or a reader needs them, or they were
//! written again since. Contents of no manifest may be those of a checkpoint that another process is writing: they go a day
//! after.

use super::{Checkpoints, pin};
use crate::error::LearnerError;
use common::{Digest, PolicyVersion};
use failpoint::Point;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::{Found, StoreError, content_key};

/// How long contents of no manifest are kept, by the store's clock.
const ORPHANED: Duration = Duration::from_secs(24 * 60 * 60);

/// How often it is looked for what the ledger is settled by: checkpoints may go while they are read.
const LOOKS: usize = 3;

const _: () = assert!(ORPHANED.as_secs() > pin::LIFE.as_secs());

/// What is to be kept and what is to go.
struct Sorted {
    kept: BTreeSet<Digest>,
    old: Vec<PolicyVersion>,
}

/// How far the ledger is settled, whichever checkpoint the run is gone on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The records before it are in the weights of every checkpoint, or refused for good.
    pub(crate) cursor: u64,
    /// When the newest checkpoint was written, by the store's clock: no later than now.
    pub(crate) now: Duration,
}

impl Checkpoints {
    /// How far the ledger is settled; `None` when there is no checkpoint.
    ///
    /// # Errors
    /// [`LearnerError::Store`].
    pub(crate) async fn settled(&self) -> Result<Option<Settled>, LearnerError> {
        for _ in 0..LOOKS {
            let found = self.store.find_below(&self.place).await?;
            let settled = self.settled_by(&found).await?;
            if settled.is_some() || self.newest_written(&found).is_none() {
                return Ok(settled);
            }
            // All that were found have gone meanwhile, for newer ones.
        }
        Ok(None)
    }

    /// The same by the checkpoints that were found.
    async fn settled_by(&self, found: &[Found]) -> Result<Option<Settled>, LearnerError> {
        let mut cursor: Option<u64> = None;
        for version in found.iter().filter_map(|found| super::version_of(&found.key)) {
            match self.manifest(version).await {
                Ok(manifest) => {
                    let of_this = manifest.account.cursor;
                    cursor = Some(cursor.map_or(of_this, |least| least.min(of_this)));
                }
                Err(LearnerError::Store(
                    error @ (StoreError::Backend { .. } | StoreError::Denied { .. }),
                )) => return Err(error.into()),
                // It is none, or has gone meanwhile.
                Err(_) => {}
            }
        }
        let now = self.newest_written(found);
        Ok(cursor.zip(now).map(|(cursor, now)| Settled { cursor, now }))
    }

    /// Removes all but the newest `keep` that are whole, and what no kept one refers to.
    ///
    /// # Errors
    /// [`LearnerError::Store`].
    pub(crate) async fn retain(&self, keep: usize) -> Result<(), LearnerError> {
        let found = self.store.find_below(&self.place).await?;
        let written: BTreeMap<&str, Duration> = found.iter().map(|f| (f.key.as_str(), f.written)).collect();
        let Some(now) = self.newest_written(&found) else {
            return Ok(());
        };
        let pinned = self.pinned(&found, now).await?;
        let pinned: BTreeSet<_> = pinned.into_iter().map(|pin| pin.version).collect();
        let Sorted { mut kept, old } = self.sorted(&written, &pinned, keep).await?;
        // Contents of the manifests that go, and when the last of those was written.
        let mut freed: BTreeMap<Digest, Duration> = BTreeMap::new();
        // The manifest goes first: what can be found is always whole.
        for version in old {
            let key = self.key(version);
            if let Ok(manifest) = self.manifest(version).await {
                let at = written.get(key.as_str()).copied().unwrap_or_default();
                for part in [manifest.adapter, manifest.optimizer] {
                    let last = freed.entry(part).or_default();
                    *last = at.max(*last);
                }
            }
            self.store.delete(&key).await?;
        }
        failpoint::reach(Point::CheckpointRetire);
        let pins = self.store.find_below(&self.pins()).await?;
        let pinned = self.pinned(&pins, now).await?;
        kept.extend(pinned.into_iter().flat_map(|pin| pin.parts));
        let kept: BTreeSet<String> = kept.iter().map(|part| content_key(&self.parts(), part)).collect();
        let freed: BTreeMap<String, Duration> = freed
            .iter()
            .map(|(part, at)| (content_key(&self.parts(), part), *at))
            .collect();
        let parts = format!("{}/", self.parts());
        for part in found.iter().filter(|found| found.key.starts_with(&parts)) {
            let went_with_its_manifest = freed.get(&part.key).is_some_and(|at| part.written <= *at);
            let is_old = part.written + ORPHANED < now;
            if !kept.contains(&part.key) && (went_with_its_manifest || is_old) {
                self.store.delete(&part.key).await?;
            }
        }
        Ok(())
    }

    /// What is kept of what the store has, and the manifests that go.
    async fn sorted(
        &self,
        written: &BTreeMap<&str, Duration>,
        pinned: &BTreeSet<PolicyVersion>,
        keep: usize,
    ) -> Result<Sorted, LearnerError> {
        let order = self.order().await?;
        let (mut whole, mut sorted) = (
            0,
            Sorted {
                kept: BTreeSet::new(),
                old: vec![],
            },
        );
        let alive = order.versions.iter().map(|version| (*version, true));
        let left = order.left_behind.iter().map(|version| (*version, false));
        for (version, counts) in alive.chain(left) {
            if whole >= keep && !pinned.contains(&version) {
                sorted.old.push(version);
                continue;
            }
            match self.manifest(version).await {
                Ok(manifest) => {
                    let parts = [manifest.adapter, manifest.optimizer];
                    let is_there =
                        |part: &Digest| written.contains_key(content_key(&self.parts(), part).as_str());
                    whole += usize::from(counts && parts.iter().all(is_there));
                    sorted.kept.extend(parts);
                }
                Err(LearnerError::Store(
                    error @ (StoreError::Backend { .. } | StoreError::Denied { .. }),
                )) => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::warn!(%version, %error, "a checkpoint that is none does not count as kept")
                }
            }
        }
        Ok(sorted)
    }

    /// When the newest manifest was written: the time, as the store tells it.
    fn newest_written(&self, found: &[Found]) -> Option<Duration> {
        let manifests = found
            .iter()
            .filter(|found| super::version_of(&found.key).is_some());
        manifests.map(|found| found.written).max()
    }
}

//! Going back: a record in the store that names the checkpoint from which the next start of the learner goes on.
//!
//! It has an epoch of its own, which opening the ledger gives it and no start of the learner: whoever still ran is fenced, and
//! what has a lower epoch and does not lie on the way to the named checkpoint is left behind for good. No checkpoint is deleted by
//! it. It is written once and never changed; of several the last counts. A run that was complete is so no longer.

use super::{Checkpoints, Manifest};
use crate::error::LearnerError;
use crate::ledger::{Identity, StartNote};
use crate::lineage::Lineage;
use crate::run_end::EndRecord;
use common::{LearnerEpoch, PolicyVersion, RunId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::Store;

/// The form that this program writes, and the only one it reads.
const FORMAT: u32 = 1;

/// How the name of a rollback begins and ends; its epoch stands in between.
const NAME: (&str, &str) = ("rollback-", ".json");

/// A rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    format: u32,
    /// Its epoch: later starts have higher ones.
    epoch: LearnerEpoch,
    /// The checkpoint to go on from.
    to: PolicyVersion,
    /// The checkpoints on the way to it: what a start that goes on from it will say of itself.
    lineage: Lineage,
}

impl Rollback {
    /// The checkpoint to go on from.
    pub(super) fn to(&self) -> PolicyVersion {
        self.to
    }

    /// Whether a checkpoint is one that the run may go on from.
    pub(super) fn keeps(&self, version: PolicyVersion) -> bool {
        version.epoch > self.epoch || self.lineage.has_checkpoint(version)
    }
}

/// What a rollback has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    /// The checkpoint that the next start goes on from.
    pub to: PolicyVersion,
    /// The epoch that the rollback took.
    pub epoch: u64,
    /// Records of the ledger that its weights do not contain: the next start trains on their pairs or refuses them.
    pub cursor: u64,
    /// The checkpoints that are left behind, oldest first.
    pub left_behind: Vec<PolicyVersion>,
}

/// Makes the checkpoint of `to` the one that the next start of the run's learner goes on from. A learner that is running is
/// superseded: its next record fails, and it ends.
///
/// # Errors
/// [`LearnerError::Checkpoint`] or [`LearnerError::Store`] when that checkpoint is not there or not whole, and nothing was
/// changed.
pub async fn roll_back(store: &Store, run: &RunId, to: PolicyVersion) -> Result<RolledBack, LearnerError> {
    let checkpoints = Checkpoints::of(store, run);
    let (manifest, pin) = checkpoints.pin(to).await?;
    let rolled_back = roll_back_to(store, run, &manifest).await;
    pin.release().await;
    rolled_back
}

/// The same to a checkpoint that retention leaves alone meanwhile.
pub(super) async fn roll_back_to(
    store: &Store,
    run: &RunId,
    manifest: &Manifest,
) -> Result<RolledBack, LearnerError> {
    let (checkpoints, to) = (Checkpoints::of(store, run), manifest.version);
    checkpoints.whole(manifest.clone()).await?;
    let key = Identity::ledger_of(run);
    // A run without a ledger is a mistyped one; opening would make it.
    store.read_journal(&key).await?;
    let journal = store.open_journal(&key, Duration::from_millis(20)).await?;
    let epoch = LearnerEpoch(journal.epoch());
    EndRecord::of(store, run).taken_by(epoch).await?;
    let rollback = Rollback {
        format: FORMAT,
        epoch,
        to,
        lineage: manifest.lineage(),
    };
    checkpoints.write_rollback(&rollback).await?;
    // A learner whose retention had looked for readers before there was one may have removed it, not its contents. No other retires it
    // from here on: it is the newest that counts.
    if !checkpoints.has(to).await? {
        checkpoints.write_manifest(manifest).await?;
    }
    let note = StartNote {
        epoch: rollback.epoch,
        lineage: rollback.lineage.clone(),
    };
    journal.append([note.stored()]).await?;
    journal.close().await?;
    let mut left_behind = checkpoints.order().await?.left_behind;
    left_behind.sort_unstable();
    Ok(RolledBack {
        to,
        epoch: rollback.epoch.0,
        cursor: manifest.account.cursor,
        left_behind,
    })
}

impl Checkpoints {
    /// The rollback that counts; `None` when there is none.
    ///
    /// # Errors
    /// [`LearnerError::Checkpoint`] when it is none: to overlook it would be to go on from the wrong place;
    /// [`LearnerError::Store`].
    pub(super) async fn rollback(&self, keys: &[String]) -> Result<Option<Rollback>, LearnerError> {
        let Some(epoch) = keys.iter().filter_map(|key| epoch_of(key)).max() else {
            return Ok(None);
        };
        let key = self.rollback_key(epoch);
        let json = self.store.get(&key).await?;
        let rollback: Rollback =
            serde_json::from_slice(&json).map_err(|error| self.fault(&key, error.to_string()))?;
        if rollback.format != FORMAT {
            return Err(self.fault(&key, format!("format {}, expected {FORMAT}", rollback.format)));
        }
        Ok(Some(rollback))
    }

    async fn write_rollback(&self, rollback: &Rollback) -> Result<(), LearnerError> {
        let json = serde_json::to_vec_pretty(rollback).expect("plain values have a JSON form");
        Ok(self
            .store
            .create(&self.rollback_key(rollback.epoch.0), json)
            .await?)
    }

    fn rollback_key(&self, epoch: u64) -> String {
        let (begin, end) = NAME;
        format!("{}/{begin}{epoch}{end}", self.place)
    }
}

fn epoch_of(key: &str) -> Option<u64> {
    let (begin, end) = NAME;
    let name = key.rsplit('/').next()?.strip_prefix(begin)?;
    name.strip_suffix(end)?.parse().ok()
}

//! A run's checkpoints as people and scripts read them.

use super::Checkpoints;
use crate::error::LearnerError;
use common::{Digest, PolicyVersion, RunId};
use serde::Serialize;
use store::{Store, StoreError};

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointLine {
    /// The version.
    pub version: PolicyVersion,
    /// Whether a rollback has left it behind: no start goes on from it.
    pub left_behind: bool,
    /// What it says of itself; `None` when it cannot be read.
    pub content: Option<CheckpointContent>,
    /// What is wrong with it; `None` when it is whole, as far as was looked.
    pub problem: Option<String>,
}

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointContent {
    /// The checkpoint that its learner's start went on from; `None` when it began the run.
    pub parent: Option<PolicyVersion>,
    /// Optimizer steps taken.
    pub steps: u64,
    /// The records of the ledger before it are in its weights, or refused.
    pub cursor: u64,
    /// Pairs trained on.
    pub pairs_trained: u64,
    /// Its adapter's weights.
    pub adapter: Digest,
}

/// The checkpoints of `run` in `store`, oldest first: their manifests, and with `verify` their contents against the digests. One that is
/// retired while it is looked at is left out: nothing is written here, not even that somebody reads.
///
/// # Errors
/// [`LearnerError::Store`] when the store cannot be read; what is wrong with one checkpoint is said in its line.
pub async fn list_checkpoints(
    store: &Store,
    run: &RunId,
    verify: bool,
) -> Result<Vec<CheckpointLine>, LearnerError> {
    let checkpoints = Checkpoints::of(store, run);
    let mut lines = vec![];
    let order = checkpoints.order().await?;
    let mut versions = [&order.versions[..], &order.left_behind[..]].concat();
    versions.sort_unstable();
    for version in versions {
        let manifest = checkpoints.manifest(version).await;
        let content = manifest.as_ref().ok().map(|manifest| CheckpointContent {
            parent: manifest.parent(),
            steps: manifest.steps,
            cursor: manifest.account.cursor,
            pairs_trained: manifest.account.trained,
            adapter: manifest.adapter,
        });
        let checked = match manifest {
            Ok(_) if verify => checkpoints.read(version).await.map(drop),
            manifest => manifest.map(drop),
        };
        let problem = match checked {
            Err(LearnerError::Store(error @ (StoreError::Backend { .. } | StoreError::Denied { .. }))) => {
                return Err(error.into());
            }
            checked => checked.err().map(|error| error.to_string()),
        };
        if problem.is_some() && !checkpoints.has(version).await? {
            continue;
        }
        lines.push(CheckpointLine {
            version,
            left_behind: order.left_behind.contains(&version),
            content,
            problem,
        });
    }
    Ok(lines)
}

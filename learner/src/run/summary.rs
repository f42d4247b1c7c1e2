//! What a run did, for whoever started it.

use crate::actors::ActorSummary;
use crate::control::ControlPlane;
use crate::ledger::OutcomeCounts;
use common::{Digest, PolicyVersion, RunId};
use serde::Serialize;
use std::collections::BTreeMap;

/// Means over the training steps that led to a version, and what its batch tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionMetrics {
    /// The version.
    pub version: PolicyVersion,
    /// By name.
    pub values: BTreeMap<String, f64>,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run.
    pub run_id: RunId,
    /// The last version that was published.
    pub version: PolicyVersion,
    /// Whether all versions were published; `false` when the learner was asked to stop before.
    pub complete: bool,
    /// How tasks ended.
    pub outcomes: OutcomeCounts,
    /// Pairs that were trained on.
    pub pairs_trained: u64,
    /// Pairs that are not trained on; those that wait for a later start are none of them.
    pub pairs_refused: u64,
    /// The same by reason: `stale` for those too many versions behind, `retired` for those sampled by a version that is no
    /// part of the run any more, `run_ended` for those left over when it was complete.
    pub pairs_refused_by_reason: BTreeMap<String, u64>,
    /// Versions that were announced, the initial one included.
    pub publishes: u64,
    /// Adapter bytes of one publish.
    pub bytes_per_publish: u64,
    /// Who took part.
    pub actors: Vec<ActorSummary>,
    /// One entry a version after the initial one.
    pub metrics: Vec<VersionMetrics>,
    /// BLAKE3 of the last version's `adapter_model.safetensors`.
    pub adapter_digest: Digest,
}

impl RunSummary {
    pub(super) fn new(control: &ControlPlane) -> Self {
        let progress = control.buffer.progress();
        let newest = control.broadcast.newest().adapter;
        Self {
            run_id: control.identity.run.clone(),
            version: progress.version,
            complete: control.is_complete(),
            outcomes: control.outcomes(),
            pairs_trained: progress.trained,
            pairs_refused: progress.refused.total(),
            pairs_refused_by_reason: progress.refused.by_reason(),
            publishes: control.broadcast.publishes(),
            bytes_per_publish: newest.bytes(),
            actors: control.actors.summaries(),
            metrics: control.metrics(0),
            adapter_digest: newest.digest(),
        }
    }
}

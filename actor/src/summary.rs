//! What an actor did, for whoever started it.

use common::{PolicyVersion, RunId};

/// What an actor did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActorSummary {
    /// The run it took part in; `None` when it was asked to stop before it had joined.
    pub run_id: Option<RunId>,
    /// The version it sampled from last; `None` when it never had one.
    pub version: Option<PolicyVersion>,
    /// Whether the run is complete; `false` when the actor was asked to stop before.
    pub complete: bool,
    /// Tasks leased.
    pub leased: u64,
    /// Leases handed back unworked.
    pub handed_back: u64,
    /// Outcomes submitted that were pairs.
    pub pairs: u64,
    /// Outcomes submitted that were groups without a preference.
    pub no_pairs: u64,
    /// Outcomes submitted that were failures.
    pub failures: u64,
    /// Outcomes that the learner refused.
    pub refused: u64,
    /// Tasks at hand that were dropped: the learner had been started anew since their lease, or the run was complete.
    pub dropped: u64,
    /// Versions adopted, the one it started from included.
    pub adoptions: u64,
    /// Adapter payload received, in bytes.
    pub adapter_bytes_received: u64,
    /// Base-model payload received, in bytes.
    pub base_bytes_received: u64,
    /// Of both, what came from other actors, in bytes.
    pub relay_bytes_received: u64,
}

impl ActorSummary {
    /// Of one that has joined `run` and done nothing yet.
    pub(crate) fn of(run: &RunId) -> Self {
        Self {
            run_id: Some(run.clone()),
            ..Self::default()
        }
    }

    /// Of one whose run was complete by then.
    pub(crate) fn too_late(self) -> Self {
        tracing::info!("the run was over before this actor could take part");
        Self {
            complete: true,
            ..self
        }
    }
}

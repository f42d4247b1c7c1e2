//! How the tasks of a run ended, counted.

use common::{FailureReason, NoPairReason, RolloutOutcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How the tasks of a run ended, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutcomeCounts {
    /// Preference pairs.
    pub pairs: u64,
    /// Scored groups without a preference, by reason.
    pub no_pairs: BTreeMap<String, u64>,
    /// Failures, retried ones included, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Leases that ran out.
    pub expired: u64,
    /// Outcomes of tasks that already had one.
    pub duplicates: u64,
    /// Outcomes that were not accepted.
    pub refused: u64,
}

impl fmt::Display for OutcomeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pairs {}", self.pairs)?;
        for (reason, count) in self.no_pairs.iter().chain(&self.failures) {
            write!(f, ", {reason} {count}")?;
        }
        write!(f, ", expired {}, refused {}", self.expired, self.refused)
    }
}

impl OutcomeCounts {
    /// Counts one more end.
    pub(crate) fn add(&mut self, outcome: &RolloutOutcome) {
        match outcome {
            RolloutOutcome::Pair(_) => self.pairs += 1,
            RolloutOutcome::NoPair { reason, .. } => {
                *self.no_pairs.entry(no_pair_name(*reason).into()).or_default() += 1;
            }
            RolloutOutcome::Failed { reason, .. } => {
                *self.failures.entry(failure_name(*reason).into()).or_default() += 1;
            }
        }
    }
}

/// The name of a reason why there is no pair.
pub(super) fn no_pair_name(reason: NoPairReason) -> &'static str {
    match reason {
        NoPairReason::Tie => "tie",
        NoPairReason::LowMargin => "low_margin",
        NoPairReason::InvalidImage => "invalid_image",
        NoPairReason::Guardrail => "guardrail",
        NoPairReason::Abstained => "abstained",
    }
}

/// The name of a reason why a task failed.
pub(super) fn failure_name(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Sampling => "sampling",
        FailureReason::Rendering => "rendering",
        FailureReason::RewardUnavailable => "reward_unavailable",
        FailureReason::Storage => "storage",
        FailureReason::Abandoned => "abandoned",
    }
}

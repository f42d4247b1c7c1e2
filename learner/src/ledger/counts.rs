//! How the tasks of a run ended, counted.

use common::{FailureReason, NoPairReason, RolloutOutcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// So many reward models are counted apart: whoever makes digests up must not fill the memory.
const MOST_MODELS: usize = 64;

/// How the tasks of a run ended, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutcomeCounts {
    /// Preference pairs.
    pub pairs: u64,
    /// Groups without a preference, by reason.
    pub no_pairs: BTreeMap<String, u64>,
    /// Failures, retried ones included, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Leases that ran out.
    pub expired: u64,
    /// Outcomes of tasks that already had one.
    pub duplicates: u64,
    /// Outcomes that were not accepted.
    pub refused: u64,
    /// Scored groups by the digest of the reward model that scored them; those of further models than 64 under `others`.
    pub reward_models: BTreeMap<String, u64>,
    /// Barred candidates by the name of the guardrail that found them.
    pub barred: BTreeMap<String, u64>,
}

impl fmt::Display for OutcomeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pairs {}", self.pairs)?;
        for (reason, count) in self.no_pairs.iter().chain(&self.failures) {
            write!(f, ", {reason} {count}")?;
        }
        for (guardrail, count) in &self.barred {
            write!(f, ", barred by {guardrail} {count}")?;
        }
        write!(f, ", expired {}, refused {}", self.expired, self.refused)
    }
}

impl OutcomeCounts {
    /// Counts one more end.
    pub(crate) fn add(&mut self, outcome: &RolloutOutcome) {
        if let Some(group) = outcome.group() {
            if let Some(model) = group.reward_model().filter(|_| !group.is_abstention()) {
                self.add_models(model.to_string(), 1);
            }
            for barred in group.barred() {
                *self.barred.entry(barred.guardrail.name().into()).or_default() += 1;
            }
        }
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

    /// Counts so many more ends.
    pub(super) fn add_all(&mut self, more: &Self) {
        self.pairs += more.pairs;
        for (counts, more) in [
            (&mut self.no_pairs, &more.no_pairs),
            (&mut self.failures, &more.failures),
            (&mut self.barred, &more.barred),
        ] {
            for (name, count) in more {
                *counts.entry(name.clone()).or_default() += count;
            }
        }
        for (digest, count) in &more.reward_models {
            self.add_models(digest.clone(), *count);
        }
    }

    fn add_models(&mut self, digest: String, count: u64) {
        let room = self.reward_models.len() < MOST_MODELS || self.reward_models.contains_key(&digest);
        let name = if room { digest } else { "others".into() };
        *self.reward_models.entry(name).or_default() += count;
    }
}

/// The name of a reason why there is no pair.
pub(crate) fn no_pair_name(reason: NoPairReason) -> &'static str {
    match reason {
        NoPairReason::Tie => "tie",
        NoPairReason::LowMargin => "low_margin",
        NoPairReason::InvalidImage => "invalid_image",
        NoPairReason::Guardrail => "guardrail",
        NoPairReason::Abstained => "abstained",
    }
}

/// The name of a reason why a task failed.
pub(crate) fn failure_name(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Sampling => "sampling",
        FailureReason::Rendering => "rendering",
        FailureReason::RewardUnavailable => "reward_unavailable",
        FailureReason::Storage => "storage",
        FailureReason::Abandoned => "abandoned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{all_barred_but_one, failed, no_pair, pair};

    #[test]
    fn scored_groups_are_counted_by_their_reward_model_and_made_up_models_take_no_memory() {
        let mut counts = OutcomeCounts::default();
        for outcome in [
            pair(0, 0),
            no_pair(1, 0),
            failed(2, false),
            all_barred_but_one(3, 0),
        ] {
            counts.add(&outcome);
        }
        assert_eq!(counts.reward_models.values().collect::<Vec<_>>(), [&2]);
        assert_eq!(
            counts.barred,
            [("halo".into(), 1), ("text_blocklist".into(), 1)].into()
        );
        let (digest, _) = counts.reward_models.first_key_value().unwrap();
        assert!(digest.starts_with("blake3:"), "{digest}");
        (0..1000).for_each(|number| counts.add_models(format!("made up {number}"), 1));
        counts.add(&pair(3, 0));
        assert_eq!(counts.reward_models.len(), MOST_MODELS + 1);
        assert_eq!(counts.reward_models.values().sum::<u64>(), 1003);
        assert_eq!(counts.reward_models["others"], 1001 - MOST_MODELS as u64);
    }
}

//! What it took to sample a batch of pairs.

use crate::account::Account;
use crate::ledger::OutcomeCounts;
use crate::training_pair::{PairBatch, Sampled};
use common::{Candidate, PolicyVersion, PreferencePair, TaskId};
use std::collections::BTreeMap;

/// What ended since the last batch was taken.
#[derive(Debug, Default)]
pub(super) struct Since {
    /// Mean rewards of scored groups without a pair, by task: a deterministic mean does not depend on the order of arrival.
    pub(super) rewards: BTreeMap<TaskId, f64>,
    /// How many tasks.
    pub(super) tasks: usize,
    /// How they ended.
    pub(super) counts: OutcomeCounts,
}

impl Since {
    /// The batch of `pairs` that `version` trains on, with what it took to sample it.
    pub(super) fn into_batch(
        mut self,
        version: PolicyVersion,
        pairs: Vec<PreferencePair>,
        account: Account,
    ) -> PairBatch {
        let of_pairs = pairs
            .iter()
            .filter_map(|pair| Some((pair.task(), pair.group().mean_reward()?)));
        self.rewards.extend(of_pairs);
        let mean_reward = self.rewards.values().sum::<f64>() / self.rewards.len() as f64;
        let staleness_max = pairs
            .iter()
            .map(|pair| staleness(version, pair))
            .max()
            .unwrap_or(0);
        PairBatch {
            version,
            pairs: pairs.iter().map(Into::into).collect(),
            sampled: Some(Sampled {
                mean_reward,
                no_pairs: self.tasks as u64 - self.counts.pairs,
                barred: self.counts.barred,
                staleness_max,
                account,
            }),
        }
    }
}

/// How many versions a pair lies behind `version`: that of its older completion, since both are trained on, and an actor may have
/// adopted a version between them.
pub(super) fn staleness(version: PolicyVersion, pair: &PreferencePair) -> u64 {
    let of = |candidate: &Candidate| version.staleness_of(candidate.trajectory.behaviour());
    of(pair.chosen()).max(of(pair.rejected()))
}

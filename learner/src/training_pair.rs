//! Pairs as the loop trains on them, whoever made them: actors, or a file.

use crate::account::Account;
use crate::error::LearnerError;
use common::{Candidate, PolicyVersion, PreferencePair, TaskId};
use std::collections::BTreeMap;

/// Two completions of one task, of which the first is preferred.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainingPair {
    /// What both answer.
    pub(crate) task: TaskId,
    /// The better one.
    pub(crate) chosen: Completion,
    /// The worse one.
    pub(crate) rejected: Completion,
}

/// A completion.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Completion {
    /// Its tokens, end token included.
    pub(crate) token_ids: Vec<u32>,
    /// Its log-probability under the policy that sampled it, in nats, where that is known.
    pub(crate) behaviour: Option<f64>,
}

/// What one version is trained from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PairBatch {
    /// The version the pairs are trained at; training makes its successor.
    pub(crate) version: PolicyVersion,
    /// The pairs, in training order before shuffling; at least one.
    pub(crate) pairs: Vec<TrainingPair>,
    /// What sampling them came to; `None` where nobody was asked.
    pub(crate) sampled: Option<Sampled>,
}

/// What sampling a batch came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampled {
    /// Mean reward of the pairs' groups and of the scored groups without a pair that ended since the last batch.
    pub(crate) mean_reward: f64,
    /// Tasks since the last batch that ended without a pair.
    pub(crate) no_pairs: u64,
    /// Candidates barred since the last batch, by the name of the guardrail.
    pub(crate) barred: BTreeMap<String, u64>,
    /// How far the stalest pair lies behind the batch's version.
    pub(crate) staleness_max: u64,
    /// Where the run stands once the batch is trained.
    pub(crate) account: Account,
}

/// Where the loop's pairs come from.
pub(crate) trait PairSource {
    /// The batch that `version` trains on; waits for it if need be.
    ///
    /// # Errors
    /// [`LearnerError`] when there will be none.
    fn next_batch(&mut self, version: PolicyVersion) -> Result<PairBatch, LearnerError>;
}

impl From<&PreferencePair> for TrainingPair {
    fn from(pair: &PreferencePair) -> Self {
        Self {
            task: pair.task(),
            chosen: pair.chosen().into(),
            rejected: pair.rejected().into(),
        }
    }
}

impl From<&Candidate> for Completion {
    fn from(candidate: &Candidate) -> Self {
        Self {
            token_ids: candidate.trajectory.token_ids().to_vec(),
            behaviour: Some(candidate.trajectory.log_prob_sum()),
        }
    }
}

//! What an actor is told of an outcome it submitted.

use crate::prompts::InvalidCompletion;
use common::{ActorId, Digest, PolicyVersion, TaskId};

/// What became of a submitted outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// It is the task's outcome.
    Recorded,
    /// The outcome of this digest stands.
    AlreadyRecorded(Digest),
    /// The task will be leased again.
    Reissued,
    /// It was not accepted.
    Refused(Refusal),
}

/// Why an outcome was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The caller does not hold the task, or no longer.
    #[error("{actor} does not hold {task}")]
    NotLeased {
        /// The task.
        task: TaskId,
        /// Who submitted.
        actor: ActorId,
    },
    /// The caller's weights do not do what the learner's do.
    #[error("{actor} is in quarantine: {reason}")]
    Quarantined {
        /// Who submitted.
        actor: ActorId,
        /// What was found.
        reason: String,
    },
    /// A candidate was sampled by a version that this lease does not allow.
    #[error("{task} was leased for {leased} but sampled by {found}")]
    Version {
        /// The task.
        task: TaskId,
        /// The version the lease was given for.
        leased: PolicyVersion,
        /// The candidate's version.
        found: PolicyVersion,
    },
    /// Another reward model scored it than the run takes.
    #[error("{task} was scored by the reward model {found}, and learner.reward_model takes only {expected}")]
    RewardModel {
        /// The task.
        task: TaskId,
        /// The run's reward model.
        expected: Digest,
        /// The outcome's.
        found: Digest,
    },
    /// A candidate's completion cannot be trained on.
    #[error("{task}: candidates[{candidate}].trajectory.token_ids: {source}")]
    Completion {
        /// The task.
        task: TaskId,
        /// Which candidate.
        candidate: usize,
        /// What is wrong with it.
        source: InvalidCompletion,
    },
}

//! Why one task's rollout did not come to a scored group.

use common::{Blame, FailureReason, RolloutOutcome, TaskId, with_causes};
use proto::WireError;
use std::fmt::Display;
use store::StoreError;
use tonic::{Code, Status};

/// What each task of a lease has come to after one step, in the lease's order.
pub(crate) type PerTask<T> = Vec<Result<T, Failure>>;

/// A step that failed for one task. It travels through the later steps untouched and ends as the task's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    reason: FailureReason,
    retryable: bool,
    blame: Blame,
    detail: String,
}

impl Failure {
    /// A failure that another attempt may not meet.
    pub(crate) fn passing(reason: FailureReason, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::retryable(reason, with_causes(error))
    }

    /// The same for what is no error here.
    pub(crate) fn retryable(reason: FailureReason, detail: impl Display) -> Self {
        Self {
            reason,
            retryable: true,
            blame: Blame::Task,
            detail: detail.to_string(),
        }
    }

    /// A failure of a service that the task needs, which says nothing against the task: of one that is `full`, or away or failing.
    pub(crate) fn of_service(
        reason: FailureReason,
        error: &(dyn std::error::Error + 'static),
        full: bool,
    ) -> Self {
        let blame = if full { Blame::FullService } else { Blame::Service };
        Self {
            blame,
            ..Self::passing(reason, error)
        }
    }

    /// The actor had no room for the task beside others, as a full service has none.
    pub(crate) fn without_room(reason: FailureReason, detail: impl Display) -> Self {
        Self {
            blame: Blame::FullService,
            ..Self::retryable(reason, detail)
        }
    }

    /// A failure of the run's store, which says nothing against the task either, unless it is its bytes that are missing or damaged.
    pub(crate) fn of_store(error: &StoreError) -> Self {
        let reason = FailureReason::Storage;
        match error {
            StoreError::NotFound { .. } | StoreError::Damaged { .. } => Self::passing(reason, error),
            _ => Self::of_service(reason, error, false),
        }
    }

    /// A failure that every attempt would meet.
    pub(crate) fn lasting(reason: FailureReason, detail: impl Display) -> Self {
        Self {
            reason,
            retryable: false,
            blame: Blame::Task,
            detail: detail.to_string(),
        }
    }

    /// What happened, for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The outcome of a task that failed this way.
    pub(crate) fn outcome(self, task: TaskId) -> RolloutOutcome {
        RolloutOutcome::Failed {
            task,
            reason: self.reason,
            retryable: self.retryable,
            blame: self.blame,
            detail: self.detail,
        }
    }
}

/// What a status says of the peer: a connection that broke under the request is no answer of its, whatever the code.
pub(crate) fn code(status: &Status) -> Code {
    match WireError::is_broken(status) {
        true => Code::Unavailable,
        false => status.code(),
    }
}

/// Why a peer did not do what it was asked: what the transport met with where there is no answer, else what the answer says.
pub(crate) fn reason(status: &Status) -> String {
    std::error::Error::source(status).map_or_else(|| status.message().to_owned(), with_causes)
}

/// A text of at most `bytes`.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    while text.len() > bytes {
        text.pop();
    }
    text
}

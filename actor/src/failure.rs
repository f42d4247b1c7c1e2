//! Why one task's rollout did not come to a scored group.

use common::{FailureReason, RolloutOutcome, TaskId};
use std::fmt::Display;

/// What each task of a lease has come to after one step, in the lease's order.
pub(crate) type PerTask<T> = Vec<Result<T, Failure>>;

/// A step that failed for one task. It travels through the later steps untouched and ends as the task's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    reason: FailureReason,
    retryable: bool,
    detail: String,
}

impl Failure {
    /// A failure that another attempt may not meet.
    pub(crate) fn passing(reason: FailureReason, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::retryable(reason, chain(error))
    }

    /// The same for what is no error here.
    pub(crate) fn retryable(reason: FailureReason, detail: impl Display) -> Self {
        Self {
            reason,
            retryable: true,
            detail: detail.to_string(),
        }
    }

    /// A failure that every attempt would meet.
    pub(crate) fn lasting(reason: FailureReason, detail: impl Display) -> Self {
        Self {
            reason,
            retryable: false,
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
            detail: self.detail,
        }
    }
}

/// An error and its causes in one line, without what a cause only repeats.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// A text of at most `bytes`.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    while text.len() > bytes {
        text.pop();
    }
    text
}

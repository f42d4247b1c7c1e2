//! The one table between what a server refuses and the gRPC status that says so.

use crate::{Denied, InvalidMessage, PeerDenied};
use common::{ActorId, LearnerEpoch, RunId};
use tonic::{Code, Status};

/// Why a server did not serve a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WireError {
    /// The message is not well formed.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// The caller may not call.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No call is taken from the caller's address.
    #[error(transparent)]
    PeerDenied(#[from] PeerDenied),
    /// The caller takes part in another run.
    #[error("this learner serves run {expected}, the caller takes part in run {found}")]
    WrongRun {
        /// The run served here.
        expected: RunId,
        /// The caller's run.
        found: RunId,
    },
    /// The caller names no run where one is needed.
    #[error("the request names no run: call Join first")]
    NotJoined,
    /// The caller knows a higher epoch: this server has been superseded.
    #[error("this learner is at {own}, the caller knows {caller}: a newer learner has taken over")]
    Fenced {
        /// This server's epoch.
        own: LearnerEpoch,
        /// The caller's epoch.
        caller: LearnerEpoch,
    },
    /// The caller knows only a lower epoch.
    #[error("the caller knows {caller}, this learner is at {own}: call Join again")]
    StaleEpoch {
        /// This server's epoch.
        own: LearnerEpoch,
        /// The caller's epoch.
        caller: LearnerEpoch,
    },
    /// The caller's weights do not do what the learner's do.
    #[error("{actor} is in quarantine: {reason}")]
    Quarantined {
        /// Who called.
        actor: ActorId,
        /// What was found.
        reason: String,
    },
    /// What was asked for does not exist.
    #[error("{0} is not known here")]
    NotFound(String),
    /// The server cannot serve now; the caller may try again.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// The server failed.
    #[error("internal error: {0}")]
    Internal(String),
}

impl WireError {
    /// The status code that stands for this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Denied(_) | Self::PeerDenied(_) => Code::PermissionDenied,
            Self::WrongRun { .. } | Self::NotJoined | Self::Quarantined { .. } => Code::FailedPrecondition,
            Self::Fenced { .. } | Self::StaleEpoch { .. } => Code::Aborted,
            Self::NotFound(_) => Code::NotFound,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// Whether the same call may succeed later without the caller changing anything.
    pub fn is_retryable(status: &Status) -> bool {
        matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Unknown
        )
    }
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Status {
        Status::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_never_retried_and_an_outage_is() {
        let refused: Status = WireError::NotJoined.into();
        let outage: Status = WireError::Unavailable("the model is loading".into()).into();
        assert!(!WireError::is_retryable(&refused));
        assert!(WireError::is_retryable(&outage));
        assert!(outage.message().contains("loading"));
    }
}

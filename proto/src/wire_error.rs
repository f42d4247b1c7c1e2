//! The one table between what a server refuses and the gRPC status that says so.

use crate::{Denied, InvalidMessage, PeerDenied};
use common::{ActorId, LearnerEpoch, OtherSetting, RunId};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The metadata of a refusal that says, in milliseconds, when the caller should come again.
const RETRY_AFTER: &str = "retry-after-ms";

/// The metadata of a refusal that says which settings of the caller are not the run's: their keys, with commas between them.
const OTHER_SETTINGS: &str = "other-settings";

/// The most settings that a refusal names. Its text is a header, for which callers keep some kilobytes.
const MOST_NAMED: usize = 8;

/// The longest time that a caller lets itself be sent away for: a damaged answer must not put it to sleep for days.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

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
    /// The caller has other settings than the run, and they decide what becomes of tasks, or what versions are measured on.
    #[error("{caller} has other settings than the run: {}", told(others))]
    OtherSettings {
        /// Who called.
        caller: String,
        /// Those settings, at least one.
        others: Vec<OtherSetting>,
    },
    /// What was asked for does not exist.
    #[error("{0} is not known here")]
    NotFound(String),
    /// The server cannot serve now; the caller may try again.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// The server has no room for the call now.
    #[error("no room: {reason}; come again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// What there is too much of, and the setting that bounds it.
        reason: String,
        /// When the caller should come again; it travels as the metadata `retry-after-ms` too.
        retry_after: Duration,
    },
    /// The run that the server was for is complete.
    #[error("its run is complete: this server holds no model any more; start it again for another run")]
    RunComplete,
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
            Self::WrongRun { .. }
            | Self::NotJoined
            | Self::Quarantined { .. }
            | Self::OtherSettings { .. }
            | Self::RunComplete => Code::FailedPrecondition,
            Self::Fenced { .. } | Self::StaleEpoch { .. } => Code::Aborted,
            Self::NotFound(_) => Code::NotFound,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Overloaded { .. } => Code::ResourceExhausted,
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

    /// Whether the callee is away rather than unwilling. A request whose deadline passed, or whose connection went away, comes back as
    /// cancelled.
    pub fn is_outage(status: &Status) -> bool {
        Self::is_broken(status) || Self::is_retryable(status) || status.code() == Code::Cancelled
    }

    /// Whether the connection broke under the request. That comes back under any of several codes, in the middle of a frame as internal,
    /// with the transport's error behind it, which no answer has.
    pub fn is_broken(status: &Status) -> bool {
        let may_be = Self::is_retryable(status) || matches!(status.code(), Code::Internal | Code::Cancelled);
        may_be && std::error::Error::source(status).is_some()
    }

    /// Whether a refusal is for settings that the caller could have as the run has them.
    pub fn is_other_settings(status: &Status) -> bool {
        status.code() == Code::FailedPrecondition && status.metadata().contains_key(OTHER_SETTINGS)
    }

    /// When a refusal asks the caller to come again, at most a minute later; `None` where it does not say.
    pub fn retry_after(status: &Status) -> Option<Duration> {
        let text = status.metadata().get(RETRY_AFTER)?.to_str().ok()?;
        let asked = Duration::from_millis(text.parse().ok()?);
        Some(asked.min(LONGEST_RETRY))
    }
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Status {
        let mut status = Status::new(error.code(), error.to_string());
        match error {
            WireError::Overloaded { retry_after, .. } => {
                let retry_after = retry_after.as_millis() as u64;
                status.metadata_mut().insert(RETRY_AFTER, retry_after.into());
            }
            WireError::OtherSettings { others, .. } => {
                let keys = others.iter().take(MOST_NAMED).map(|other| other.key.as_str());
                // Keys of settings are plain text; that there is such metadata says enough where one is not.
                let keys = MetadataValue::try_from(keys.collect::<Vec<_>>().join(","));
                let keys = keys.unwrap_or(MetadataValue::from_static(""));
                status.metadata_mut().insert(OTHER_SETTINGS, keys);
            }
            _ => {}
        }
        status
    }
}

/// The first of these settings with both values, and how many there are more.
fn told(others: &[OtherSetting]) -> String {
    let named = others.iter().take(MOST_NAMED);
    let named = named.map(|other| format!("{other}, the run has {}", other.expected));
    let named = named.collect::<Vec<_>>().join("; ");
    match others.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_refusal_is_never_retried_and_an_outage_is() {
        let refused: Status = WireError::NotJoined.into();
        let outage: Status = WireError::Unavailable("the model is loading".into()).into();
        assert!(!WireError::is_retryable(&refused));
        assert!(WireError::is_retryable(&outage));
        assert!(outage.message().contains("loading"));
    }

    #[test]
    fn settings_that_are_not_the_runs_are_named_with_both_values_and_no_other_refusal_is_taken_for_that() {
        let others = |count: usize| {
            let other = |number| OtherSetting {
                key: format!("actor.setting_{number}"),
                stated: "0.7".into(),
                expected: "1.0".into(),
            };
            let (caller, others) = ("actor-1".into(), (1..=count).map(other).collect());
            Status::from(WireError::OtherSettings { caller, others })
        };
        let status = others(2);
        assert!(WireError::is_other_settings(&status) && !WireError::is_outage(&status));
        assert!(
            status
                .message()
                .ends_with("actor.setting_1 = 0.7, the run has 1.0; actor.setting_2 = 0.7, the run has 1.0"),
            "{status}"
        );
        let keys = status.metadata().get("other-settings").unwrap();
        assert_eq!(keys.to_str().unwrap(), "actor.setting_1,actor.setting_2");
        assert!(others(200).message().ends_with("; and 192 more"));
        assert!(!WireError::is_other_settings(&WireError::NotJoined.into()));
    }

    #[test]
    fn a_connection_that_broke_is_an_outage_and_an_internal_failure_of_the_callee_is_none() {
        let failed = Status::internal("the run failed");
        assert!(!WireError::is_outage(&failed) && !WireError::is_broken(&failed));
        assert!(!WireError::is_broken(&Status::unavailable(
            "the model is loading"
        )));
        let mut broken = Status::internal("h2 protocol error");
        broken.set_source(Arc::new(std::io::Error::from(
            std::io::ErrorKind::ConnectionReset,
        )));
        assert!(WireError::is_outage(&broken) && WireError::is_broken(&broken));
    }

    #[test]
    fn a_server_without_room_says_when_to_come_again_and_nonsense_in_its_place_is_nothing() {
        let overloaded = WireError::Overloaded {
            reason: "64 requests are worked on".into(),
            retry_after: Duration::from_millis(250),
        };
        let mut status: Status = overloaded.into();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(WireError::is_retryable(&status) && status.message().contains("250 ms"));
        assert_eq!(WireError::retry_after(&status), Some(Duration::from_millis(250)));
        for (text, found) in [("soon", None), ("-1", None), ("99999999999", Some(LONGEST_RETRY))] {
            status.metadata_mut().insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(WireError::retry_after(&status), found, "{text}");
        }
        assert_eq!(WireError::retry_after(&WireError::NotJoined.into()), None);
    }
}

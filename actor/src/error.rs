//! Why an actor stops without having finished.
//!
//! What concerns one task only is no error: it is a [`RolloutOutcome::Failed`](common::RolloutOutcome::Failed) that the
//! learner hears of.

use crate::undone::NoRoom;
use common::{CanaryReport, Digest, InvalidConfig, PolicyVersion};
use data::GenerateError;
use models::ModelError;
use models::compute_thread::ComputeError;
use proto::{InvalidMessage, WireError};
use std::path::PathBuf;

/// An error that ends an actor. Leases it held were handed back, or expire.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActorError {
    /// The configuration is impossible.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The image generator cannot be used.
    #[error(transparent)]
    ImageGenerator(#[from] GenerateError),
    /// The pictures of one group have no room, and those of another one are as large.
    #[error(
        "one group of {group_size} takes up to {bytes} bytes, more than actor.memory_bytes = {most}: set at least {bytes}, or a smaller \
         actor.group_size"
    )]
    GroupTooLarge {
        /// What one takes: cut-out, completions, pictures while they are made, and PNGs; these at most, where none was made.
        bytes: usize,
        /// What may be held.
        most: usize,
        /// Its candidates.
        group_size: usize,
    },
    /// An address is none.
    #[error("{role} address {url:?} is not of the form http://host:port")]
    Address {
        /// Whose address it was to be.
        role: &'static str,
        /// What was given.
        url: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
    /// A peer did not answer for as long as the configuration allows.
    #[error("{role} at {url} did not answer within {waited_s:.1} s")]
    Unreachable {
        /// Who was called.
        role: &'static str,
        /// Where.
        url: String,
        /// How long it was tried, in seconds.
        waited_s: f64,
        /// What the last attempt came to.
        source: LastAttempt,
    },
    /// A peer did not answer, and there was next to no time for it to.
    #[error("{role} at {url} did not answer, and {of} had no time left")]
    NoTimeLeft {
        /// Who was called.
        role: &'static str,
        /// Where.
        url: String,
        /// What bounded the time.
        of: &'static str,
        /// What the last attempt came to.
        source: LastAttempt,
    },
    /// A peer had no room for as long as the configuration or the lease allows.
    #[error("{role} at {url} had no room{}", lasting(*waited_s))]
    Overloaded {
        /// Who was called.
        role: &'static str,
        /// Where.
        url: String,
        /// How long it was tried, in seconds.
        waited_s: f64,
        /// What the last attempt came to.
        source: LastAttempt,
    },
    /// A peer answered with failures for as long as the configuration or the lease allows.
    #[error("{role} at {url} has failed{}", lasting(*waited_s))]
    Failing {
        /// Who was called.
        role: &'static str,
        /// Where.
        url: String,
        /// How long it was tried, in seconds.
        waited_s: f64,
        /// What the last attempt came to.
        source: LastAttempt,
    },
    /// A peer refused a request, and would again.
    #[error("{role} at {url} refused ({code:?}): {message}")]
    Refused {
        /// Who was called.
        role: &'static str,
        /// Where.
        url: String,
        /// The kind of refusal.
        code: tonic::Code,
        /// Its reason, in the peer's words.
        message: String,
    },
    /// The learner's run has other settings than this actor, and what becomes of a task follows from them.
    #[error(
        "learner at {url} refused: {reason}; start the actor with the configuration of its run and the files that it names"
    )]
    OtherSettings {
        /// Where the learner is.
        url: String,
        /// Which settings, with both values, in the learner's words.
        reason: String,
    },
    /// A peer's answer is not well formed.
    #[error("{role} at {url} sent a malformed answer")]
    Answer {
        /// Who was called.
        role: &'static str,
        /// Where.
        url: String,
        /// What is wrong with it.
        source: InvalidMessage,
    },
    /// The reward-server's model is not the one whose scores the run takes.
    #[error(
        "reward-server at {url} scores with the reward model {found}, and the run takes only {expected} (learner.reward_model)"
    )]
    RewardModel {
        /// Where the reward-server is.
        url: String,
        /// The run's reward model.
        expected: Digest,
        /// The server's.
        found: Digest,
    },
    /// A deterministic run's reward-server does not say that it scores every group alone: its scores would depend on who else asks.
    #[error(
        "reward-server at {url} does not say that it scores every group alone, as the run needs, which is deterministic: start \
         it with --deterministic too (learner.deterministic)"
    )]
    ScoresTogether {
        /// Where the reward-server is.
        url: String,
    },
    /// The learner's versions belong to another base model than the one this actor has.
    #[error(
        "learner at {url} offers {version} for another base model than this actor has: the learner was started anew, and so \
         must the actor be"
    )]
    OtherBase {
        /// Where the learner is.
        url: String,
        /// The version offered.
        version: PolicyVersion,
    },
    /// Received bytes are not those that the manifest promised; nothing is sampled from them.
    #[error(
        "artifact {name}, chunk {chunk}: received bytes have digest {found}, the manifest says {expected}"
    )]
    ArtifactDigest {
        /// The artifact's name.
        name: String,
        /// Which of its chunks, from 0.
        chunk: usize,
        /// The digest promised.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// Weights that were fetched and checked do not do what the learner's do; nothing is sampled from them.
    #[error(
        "{version} does not take effect here: its log-probabilities are {:.2e} nats from the learner's, {:.2e} are rounding \
         (the version before is {:.2e} away)",
        report.deviation, report.tolerance, report.separation
    )]
    Canary {
        /// The version.
        version: PolicyVersion,
        /// What was compared.
        report: CanaryReport,
    },
    /// The picture of a canary's question cannot be had.
    #[error("the canary's picture {digest}: {detail}")]
    CanaryImage {
        /// Its digest in the run's store.
        digest: Digest,
        /// What happened.
        detail: String,
    },
    /// More bytes came than the manifest promised.
    #[error("artifact {name}: more than the {expected} bytes of the manifest were sent")]
    ArtifactSize {
        /// The artifact's name.
        name: String,
        /// The size promised.
        expected: u64,
    },
    /// The work directory cannot be used.
    #[error("cannot {action} {}", path.display())]
    WorkDir {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Received weights make no policy.
    #[error("the policy's weights cannot be used")]
    Model(#[from] ModelError),
    /// The thread that owns the policy failed.
    #[error("the policy's compute thread failed")]
    Compute(#[from] ComputeError),
    /// The health service cannot be served on the listener.
    #[error("cannot serve the health service")]
    Health(#[source] tonic::transport::Error),
    /// A task of this process panicked or was cancelled.
    #[error("the {task} task ended early")]
    Task {
        /// Which.
        task: &'static str,
        /// How.
        source: tokio::task::JoinError,
    },
}

impl ActorError {
    /// Whether the learner that refused is of another epoch than the caller takes it for: it was started anew, or it has been
    /// superseded.
    pub(crate) fn is_other_epoch(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: tonic::Code::Aborted,
                ..
            }
        )
    }

    /// Whether a peer is away, or does not serve: once the run is complete, as everybody may be. Whoever refuses is there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NoTimeLeft { .. }
                | Self::Overloaded { .. }
                | Self::Failing { .. }
        )
    }

    /// When a peer that had no room wants to be asked again; `None` of every other error.
    pub(crate) fn no_room(&self) -> Option<NoRoom> {
        match self {
            Self::Overloaded { source, .. } => Some(NoRoom {
                retry_after: WireError::retry_after(&source.0),
            }),
            _ => None,
        }
    }

    /// Whether a peer no longer has what it was asked for.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == tonic::Code::NotFound)
    }
}

/// For how long. Who asked to be left alone for longer than anybody waits was given up at once, and people are told tenths of a second.
fn lasting(seconds: f64) -> String {
    match format!("{seconds:.1}").as_str() {
        "0.0" => String::new(),
        told => format!(" for {told} s"),
    }
}

/// What an attempt to reach a peer came to.
#[derive(Debug)]
pub struct LastAttempt(Box<tonic::Status>);

impl From<tonic::Status> for LastAttempt {
    fn from(status: tonic::Status) -> Self {
        Self(Box::new(status))
    }
}

impl std::fmt::Display for LastAttempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.0.code(), proto::one_line(self.0.message()))
    }
}

impl std::error::Error for LastAttempt {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

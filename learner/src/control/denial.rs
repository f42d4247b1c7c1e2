//! Why an actor that asks for tasks gets none and need not wait.

use common::PolicyVersion;

/// Why a learner leases nothing more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The run has failed: no learner would get further.
    #[error("{0}")]
    Run(String),
    /// This learner can no longer keep what it records. A later start, or the one that has taken over, goes on.
    #[error("{0}")]
    Learner(String),
}

/// A version that this run has not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("policy version {0} of this run")]
pub(crate) struct UnknownVersion(pub(crate) PolicyVersion);

/// Why an actor is not answered when it asks for tasks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LeaseDenied {
    /// It samples from a version that this run has not published.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    /// Its weights do not do what the learner's do.
    #[error("quarantine: {0}")]
    Quarantined(String),
}

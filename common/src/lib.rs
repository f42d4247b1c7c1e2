//! The nouns of a run and their invariants.
//!
//! Plain values only: nothing here does I/O, awaits, locks, logs, reads a clock or touches a tensor. A value that exists
//! is valid: constructors refuse what would break an invariant, so nobody downstream checks again. Beside the nouns stand [`LastUsed`],
//! [`address`] and [`with_causes`]: plain values too, that crates need which share nothing else.

pub mod address;
mod artifact;
mod canary;
mod candidate;
mod causes;
mod deciding;
mod digest;
mod id;
mod last_used;
mod outcome;
mod presence;
mod reward;
pub mod run_end;
mod seed;
mod settings;
mod standing;
mod task;
mod trajectory;
mod version;

pub use artifact::{Artifact, InvalidArtifact};
pub use canary::{
    Canary, CanaryQuestion, CanaryReport, CanaryVerdict, CompletionNats, InvalidCanary, OwnNats,
};
pub use candidate::{Candidate, CandidateGroup, CandidateImage, InvalidGroup};
pub use causes::with_causes;
pub use deciding::{DecidingSettings, OtherSetting, stated};
pub use digest::{Digest, InvalidDigest};
pub use id::{ActorId, InvalidId, LearnerEpoch, ProductId, RunId, TaskId};
pub use last_used::LastUsed;
pub use outcome::{Blame, FailureReason, InvalidPair, NoPairReason, PreferencePair, RolloutOutcome};
pub use presence::{ActorState, Presence};
pub use reward::{InvalidReward, Reward, Sides};
pub use seed::{Purpose, derive_seed};
pub use settings::{InvalidConfig, InvalidSetting, SettingsCheck};
pub use standing::{Barred, Guardrail, Standing};
pub use task::ProductTask;
pub use trajectory::{Finish, InvalidTrajectory, Trajectory};
pub use version::{NoVersion, PolicyVersion};

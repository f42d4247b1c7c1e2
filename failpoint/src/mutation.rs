//! Promises of the protocol that a test build can be told to break, so that it is proven that somebody would notice.

#[cfg(feature = "failpoints")]
use std::sync::OnceLock;

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Outcomes are acknowledged before they are durable.
    AckBeforeDurable,
    /// A task's later outcomes are recorded like its first.
    NoDedupe,
    /// What comes from an earlier start's epoch is served.
    NoEpochCheck,
    /// Chunks are kept whatever their digest.
    NoDigestCheck,
    /// A checkpoint's cursor is ahead of its weights.
    CursorBeforeWeights,
    /// Leases do not run out.
    EternalLease,
    /// A run's end is told and not recorded.
    EndNotRecorded,
    /// A pair is refused, and nothing on record says so.
    RefusalNotNoted,
    /// A relay is waited for for as long as it takes.
    EndlessPatience,
    /// A version's adapter is not bound.
    Unbound,
    /// A version's adapter is bound to other modules than the learner's.
    WrongModules,
}

/// What this process breaks.
#[cfg(feature = "failpoints")]
static BROKEN: OnceLock<Mutation> = OnceLock::new();

#[cfg(feature = "failpoints")]
impl Mutation {
    /// Those that the simulation notices.
    pub const SIMULATED: &[Self] = &[
        Self::AckBeforeDurable,
        Self::NoDedupe,
        Self::NoEpochCheck,
        Self::NoDigestCheck,
        Self::CursorBeforeWeights,
        Self::EternalLease,
        Self::EndNotRecorded,
        Self::RefusalNotNoted,
        Self::EndlessPatience,
    ];

    /// Those that the canary notices.
    pub const OF_WEIGHTS: &[Self] = &[Self::Unbound, Self::WrongModules];

    /// The one of a name.
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::SIMULATED.iter().chain(Self::OF_WEIGHTS);
        all.copied().find(|mutation| mutation.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AckBeforeDurable => "ack-before-durable",
            Self::NoDedupe => "no-dedupe",
            Self::NoEpochCheck => "no-epoch-check",
            Self::NoDigestCheck => "no-digest-check",
            Self::CursorBeforeWeights => "cursor-before-weights",
            Self::EternalLease => "eternal-lease",
            Self::EndNotRecorded => "end-not-recorded",
            Self::RefusalNotNoted => "refusal-not-noted",
            Self::EndlessPatience => "endless-patience",
            Self::Unbound => "unbound",
            Self::WrongModules => "wrong-modules",
        }
    }

    /// From now on this process breaks it. The first promise counts.
    pub fn commit(self) {
        BROKEN.get_or_init(|| self);
    }
}

/// Whether this process breaks a promise.
#[cfg(feature = "failpoints")]
pub fn breaks(mutation: Mutation) -> bool {
    BROKEN.get() == Some(&mutation)
}

//! The points, each with the role that reaches it.

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident, $role:literal, $name:literal;)+) => {
        /// A place at which a process can die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        #[cfg(feature = "failpoints")]
        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// Its name, which begins with the role's.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => concat!($role, ".", $name),)+
                }
            }

            /// The role that reaches it.
            pub fn role(self) -> &'static str {
                match self {
                    $(Self::$point => $role,)+
                }
            }
        }
    };
}

points! {
    /// The ledger is opened, which fences the earlier start; nothing is leased yet.
    Fenced, "learner", "fenced";
    /// Tasks are leased, the actor does not know.
    Leased, "learner", "leased";
    /// Outcomes are on their way to the disk.
    LedgerWrite, "learner", "ledger.write";
    /// Outcomes are durable, the actor does not know.
    SubmitDurable, "learner", "submit.durable";
    /// A version is trained, no checkpoint has it.
    Stepped, "learner", "stepped";
    /// A checkpoint's parts are on their way to the disk.
    CheckpointUpload, "learner", "checkpoint.upload";
    /// A checkpoint's parts are there, its manifest is not.
    CheckpointUploaded, "learner", "checkpoint.uploaded";
    /// A checkpoint is there, its version is announced to nobody.
    CheckpointWritten, "learner", "checkpoint.written";
    /// Manifests of old checkpoints are gone, their parts are not.
    CheckpointRetire, "learner", "checkpoint.retire";
    /// Some of the images that a note of the ledger lets go are gone.
    ImagesExpire, "learner", "images.expire";
    /// A part of an artifact is about to go out to an actor.
    ArtifactChunk, "learner", "artifact.chunk";
    /// The run's end is recorded, nobody has been told.
    EndRecorded, "learner", "end.recorded";
    /// The run's final adapter is half written.
    AdapterWrite, "learner", "adapter.write";
    /// A creative is on its way to the disk.
    CreativeUpload, "actor", "creative.upload";
    /// The candidates are scored, nothing is submitted.
    Scored, "actor", "scored";
    /// The learner has acknowledged outcomes, the actor has not taken note.
    Acknowledged, "actor", "acknowledged";
    /// Newer weights are checked and built, the old ones are sampled from.
    AdoptSwap, "actor", "adopt.swap";
    /// Newer weights are sampled from, the learner does not know.
    Adopted, "actor", "adopted";
    /// A part of an artifact is about to go out to another actor.
    RelayChunk, "actor", "relay.chunk";
    /// Groups are about to be scored.
    Scoring, "reward-server", "scoring";
    /// Groups are scored, the actor does not know.
    ScoredUnanswered, "reward-server", "scored";
}

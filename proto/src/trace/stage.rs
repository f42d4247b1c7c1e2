//! The stages of a *sample*: of what becomes of one task, from its lease to the version that was trained from it, in whichever
//! processes. Each is told as an event when it is over, with the sample's trace, which every process works out for itself.
//!
//! Nobody pays for it unless somebody listens. What is made of the events is the listener's affair.

use super::TraceId;
use std::time::Duration;

/// The target of the events that say that a stage of a sample is over: `stage`, `trace_id` and how long it took in `micros`.
pub const SAMPLE_STAGE: &str = "sample_stage";

/// The stages of a sample, in their order; [`Stage::Task`] spans those of the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From the lease that ended well to its outcome, as the learner sees it: the span that the others belong to.
    Task,
    /// An actor asks for tasks, and gets this one among them.
    Lease,
    /// Its completions are sampled.
    Sample,
    /// They are rendered.
    Render,
    /// Their images are scored, as the actor sees it.
    Score,
    /// The group goes through the reward model, waiting included: in the reward-server.
    ScoreGroup,
    /// Its outcome is handed in, until that is acknowledged.
    Submit,
    /// The learner makes it durable.
    Durable,
    /// An optimizer step takes its pair in; one each time.
    TrainStep,
    /// The version that was trained from it is kept and announced.
    Publish,
}

impl Stage {
    /// Its name, as a span has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Lease => "lease",
            Self::Sample => "sample",
            Self::Render => "render",
            Self::Score => "score",
            Self::ScoreGroup => "score_group",
            Self::Submit => "submit",
            Self::Durable => "durable",
            Self::TrainStep => "train_step",
            Self::Publish => "publish",
        }
    }

    /// Tells that this stage of the samples of these traces is over, and how long it took.
    pub fn over(self, took: Duration, samples: impl IntoIterator<Item = TraceId>) {
        if !tracing::enabled!(target: SAMPLE_STAGE, tracing::Level::TRACE) {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for trace in samples {
            tracing::trace!(target: SAMPLE_STAGE, stage = self.name(), trace_id = %trace, micros);
        }
    }
}

//! When an actor's decode steps ended: what a measurement of its pauses needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The ends of decode steps, in order.
#[derive(Debug, Clone, Default)]
pub struct DecodeTimes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    steps: Vec<DecodeStep>,
    /// When the batch at hand was begun, until its first step is over.
    begun: Option<Instant>,
}

/// One step: a token was drawn for every row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeStep {
    /// When that was done.
    pub at: Instant,
    /// Of a batch's first step, whose logits are the prompts' own: when it was begun. Others begin where the one before ends.
    pub begun: Option<Instant>,
}

impl DecodeTimes {
    /// Every step so far.
    pub fn steps(&self) -> Vec<DecodeStep> {
        self.noted().steps.clone()
    }

    /// A batch is begun.
    pub(crate) fn begin(&self) {
        self.noted().begun = Some(Instant::now());
    }

    /// A token has been drawn for every row.
    pub(crate) fn note(&self) {
        let mut noted = self.noted();
        let begun = noted.begun.take();
        let at = Instant::now();
        noted.steps.push(DecodeStep { at, begun });
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

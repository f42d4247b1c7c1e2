//! What becomes of pairs goes into the ledger: which a version was trained from, and which none will be.

use super::ControlPlane;
use crate::ledger::{Note, TrainingNote};

impl ControlPlane {
    /// A version was trained. The refusals that are settled with it become durable together with the note of its training.
    pub(crate) fn note_trained(&self, note: TrainingNote) {
        let refusals = self.buffer.take_refusals().into_iter().map(Note::from);
        self.ledger.note_all(refusals.chain([note.into()]));
    }

    /// Nothing more is trained by this start.
    pub(crate) fn training_is_over(&self) {
        self.buffer.end(self.is_complete());
        self.note_left_over();
    }

    /// Once the run is complete no training follows with which refusals could be noted.
    pub(super) fn note_left_over(&self) {
        if self.is_complete() {
            let refusals = self.buffer.take_refusals().into_iter().map(Note::from);
            self.ledger.note_all(refusals);
        }
    }
}

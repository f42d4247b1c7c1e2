//! What scaling is told of a run's leases and outcomes, and what it says. It decides nothing of the run.

use super::{ControlPlane, Failure, LeaseAnswer, Receipt};
use crate::admission::{Allowance, Situation as Asked};
use crate::scaling::{Scale, Scaling, Situation, Work};
use common::ActorId;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

impl ControlPlane {
    /// A caller of this name has joined.
    pub(crate) fn note_join(&self, actor: &ActorId, now: Instant) {
        self.scaling().joined(actor, now);
    }

    /// Looks at where the run stands and says how many actors it could use.
    pub(crate) fn look(&self, now: Instant) {
        // Before what is measured is locked: handlers wait for that lock.
        let situation = self.situation(now);
        let scale = self.scaling().look(now, &situation);
        self.scale.send_if_modified(|last| {
            let is_told = (last.wanted, last.active) != (scale.wanted, scale.active);
            *last = scale;
            is_told
        });
    }

    /// How many actors the run could use, when it was last looked at.
    pub(crate) fn scale(&self) -> Scale {
        *self.scale.borrow()
    }

    /// The same, and when as many as before are no longer wanted.
    pub(crate) fn watch_scale(&self) -> watch::Receiver<Scale> {
        self.scale.subscribe()
    }

    /// An actor asked for tasks; `None`: it was denied.
    pub(super) fn note_lease(&self, actor: &ActorId, answer: Option<&LeaseAnswer>, now: Instant) {
        match answer {
            Some(LeaseAnswer::Tasks(_)) => self.scaling().leased(actor, now),
            Some(LeaseAnswer::Wait(_) | LeaseAnswer::Complete) | None => self.note_pause(actor),
        }
    }

    /// An outcome of such `work` was answered with `receipt`.
    pub(super) fn note_outcome(&self, actor: &ActorId, work: Work, receipt: &Receipt, now: Instant) {
        let work = match receipt {
            Receipt::Recorded => work,
            // It was done, and somebody else's counts.
            Receipt::AlreadyRecorded(_) if work == Work::Pair => Work::NoPair,
            Receipt::AlreadyRecorded(_) => work,
            Receipt::Reissued | Receipt::Refused(_) => Work::Nothing,
        };
        self.scaling().ended(actor, work, now);
    }

    /// An actor no longer has what it was given.
    pub(super) fn note_pause(&self, actor: &ActorId) {
        self.scaling().paused(actor);
    }

    fn situation(&self, now: Instant) -> Situation {
        let (undelivered, progress) = (self.ledger.undelivered(), self.buffer.progress());
        let asked = Asked {
            version: progress.version.number,
            training: progress.training,
            fresh: progress.fresh + undelivered,
            open: self.leases.open(),
            behaviour: progress.version.number,
        };
        Situation {
            trained: progress.trained,
            training: progress.training,
            fresh: asked.fresh,
            open: asked.open,
            present: self.actors.present(now, self.terms.ttl + self.terms.grace),
            leasable: !matches!(self.admission.allow(&asked, 1), Allowance::Wait(_)),
            more_to_come: self.admission.leases_more(&asked),
            // A learner that fails has a successor, a run that fails has none.
            over: self.is_complete() || matches!(self.failure(), Some(Failure::Run(_))),
        }
    }

    fn scaling(&self) -> MutexGuard<'_, Scaling> {
        self.scaling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The control plane of a run: outcomes, versions and actors, joined with the leases that `control/leasing.rs` gives.
//!
//! Every function returns at once and takes the time as an argument. It knows no messages (`service.rs`) and no tensors
//! (`train_loop.rs`). Locks are taken in one order: task queue, ledger, pair buffer; the queue is held while leases are
//! given; what scaling measures is locked alone. What is recorded goes to training when the ledger's writer has made it
//! durable ([`ControlPlane::deliver`]).

mod acceptance;
mod denial;
mod held_out;
mod leasing;
mod receipt;
mod scale;
mod settings;
mod untrained;

pub(crate) use denial::{Failure, LeaseDenied, UnknownVersion};
pub(crate) use leasing::LeaseAnswer;
pub(crate) use receipt::{Receipt, Refusal};

use crate::actors::{ActorRegistry, Adoption};
use crate::admission::Admission;
use crate::assortment::Assortment;
use crate::broadcast::{Broadcast, Weights};
use crate::config::LearnerConfig;
use crate::leases::LeaseTable;
use crate::ledger::{Beginning, Identity, Ledger, OutcomeCounts, Record, Recorded};
use crate::measured::Measured;
use crate::pair_buffer::{BatchRule, PairBuffer, Progress};
use crate::prompts::CompletionLimits;
use crate::run::VersionMetrics;
use crate::scaling::{Scale, Scaling, Work};
use crate::shown::{self, Audience};
use crate::task_queue::TaskQueue;
use crate::tensorboard::Board;
use common::{ActorId, Blame, Digest, FailureReason, LearnerEpoch, PolicyVersion, RolloutOutcome, TaskId};
use proto::trace::{Stage, TraceId};
use settings::RunSettings;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The control plane of a run.
pub(crate) struct ControlPlane {
    /// Which run this is.
    pub(crate) identity: Identity,
    /// Its settings that decide what becomes of a task, as actors may state them.
    pub(crate) settings: RunSettings,
    /// Who takes part.
    pub(crate) actors: ActorRegistry,
    /// What can be fetched.
    pub(crate) broadcast: Broadcast,
    /// Pairs on their way to training.
    pub(crate) buffer: PairBuffer,
    /// How tasks ended.
    pub(crate) ledger: Ledger,
    /// What is measured beside.
    pub(crate) measured: Arc<Measured>,
    /// What is written for TensorBoard.
    pub(crate) board: Arc<Board>,
    assortment: Arc<Assortment>,
    admission: Admission,
    terms: Terms,
    completions: CompletionLimits,
    queue: Mutex<TaskQueue>,
    leases: LeaseTable,
    metrics: Mutex<Vec<VersionMetrics>>,
    held_out: Mutex<Option<VersionMetrics>>,
    failure: OnceLock<Failure>,
    scaling: Mutex<Scaling>,
    scale: watch::Sender<Scale>,
    audience: OnceLock<Audience>,
}

/// The terms of a lease.
struct Terms {
    ttl: Duration,
    grace: Duration,
    max_attempts: u32,
    /// The only reward model whose scores are taken; `None`: any.
    reward_model: Option<Digest>,
}

impl ControlPlane {
    /// The control plane of a run that was `begun` so and starts at the version `broadcast` offers, with what `ledger` has recorded before, and
    /// trains on completions within `completions`.
    pub(crate) fn new(
        config: &LearnerConfig,
        begun: Beginning,
        assortment: Arc<Assortment>,
        broadcast: Broadcast,
        completions: CompletionLimits,
        ledger: Ledger,
    ) -> Self {
        let max_staleness = if config.deterministic {
            0
        } else {
            config.max_staleness
        };
        let rule = BatchRule {
            pairs_per_version: config.pairs_per_version,
            max_staleness,
            deterministic: config.deterministic,
            max_tasks: config.max_tasks_per_pair.saturating_mul(config.pairs_per_version),
        };
        let admission = Admission {
            pairs_per_version: config.pairs_per_version,
            max_staleness,
            versions: config.versions,
            deterministic: config.deterministic,
        };
        let terms = Terms {
            ttl: config.lease_ttl(),
            grace: config.lease_grace(),
            max_attempts: config.max_attempts,
            reward_model: config.pinned_reward_model(),
        };
        let buffer = PairBuffer::new(rule, broadcast.newest().version);
        let scaling = Scaling::new(
            config.scaling.clone(),
            config.pairs_per_version,
            max_staleness == 0,
        );
        Self {
            identity: begun.identity.clone(),
            settings: RunSettings::new(begun, assortment.catalogue()),
            actors: ActorRegistry::default(),
            broadcast,
            buffer,
            assortment,
            admission,
            terms,
            completions,
            queue: Mutex::new(TaskQueue::from(ledger.first_open())),
            leases: LeaseTable::default(),
            ledger,
            measured: Arc::default(),
            board: Arc::default(),
            metrics: Mutex::default(),
            held_out: Mutex::default(),
            failure: OnceLock::new(),
            scaling: Mutex::new(scaling),
            scale: watch::Sender::new(Scale::at_first(&config.scaling)),
            audience: OnceLock::new(),
        }
    }

    /// Takes in the outcome of a task that `actor` holds.
    pub(crate) fn submit(&self, actor: &ActorId, outcome: RolloutOutcome, now: Instant) -> Receipt {
        let work = Work::of(&outcome);
        let receipt = self.take_in(actor, outcome, now);
        self.note_outcome(actor, work, &receipt, now);
        receipt
    }

    fn take_in(&self, actor: &ActorId, outcome: RolloutOutcome, now: Instant) -> Receipt {
        let task = outcome.task();
        if let Some(digest) = self.ledger.duplicate_of(task) {
            // The task may have been leased again before the outcome that stands came in.
            self.leases.end(task, actor);
            return Receipt::AlreadyRecorded(digest);
        }
        // What it held was leased to others when it was quarantined.
        if let Err(refusal) = self.check_quarantine(actor) {
            return self.refuse(refusal);
        }
        let Some(lease) = self.leases.held(task, actor) else {
            return self.refuse(Refusal::NotLeased {
                task,
                actor: actor.clone(),
            });
        };
        let checked = self.check_versions(&lease, &outcome);
        let checked = checked.and_then(|()| self.check_reward_model(&outcome));
        if let Err(refusal) = checked.and_then(|()| self.check_completions(&outcome)) {
            self.end_and_reissue(task, actor, FailureReason::Abandoned);
            return self.refuse(refusal);
        }
        self.actors.submitted(actor, now, 1);
        let images = outcome.group().map_or(0, |group| {
            group
                .candidates()
                .iter()
                .filter(|candidate| candidate.image.is_some())
                .count()
        });
        self.measured.images.inc_by(images as u64);
        let outcome = match outcome {
            RolloutOutcome::Failed {
                reason,
                retryable: true,
                blame,
                ..
            } if self.may_be_leased_again(&lease, blame) => {
                self.ledger.count_retry(&outcome);
                self.end_and_blame(task, actor, reason, blame);
                return Receipt::Reissued;
            }
            RolloutOutcome::Failed {
                task, reason, detail, ..
            } => RolloutOutcome::Failed {
                task,
                reason,
                retryable: false,
                blame: Blame::Task,
                detail,
            },
            scored => scored,
        };
        // Recorded before the lease ends: in between a task is counted twice, which only makes admission stricter.
        let receipt = self.record(outcome, Some(actor));
        self.leases.end(task, actor);
        if receipt == Receipt::Recorded {
            let left = lease.deadline.saturating_duration_since(now);
            Stage::Task.over(self.terms.ttl.saturating_sub(left), [self.trace_of(task)]);
        }
        receipt
    }

    /// An actor reports a version. What one in quarantine holds goes to others.
    ///
    /// # Errors
    /// [`UnknownVersion`] when this run has not published it.
    pub(crate) fn adopted(
        &self,
        actor: &ActorId,
        adoption: &Adoption,
        now: Instant,
    ) -> Result<(), UnknownVersion> {
        self.check_published(adoption.version)?;
        self.actors.adopted(actor, now, adoption);
        if self.actors.quarantine(actor).is_some() {
            self.note_pause(actor);
            for task in self.leases.held_by(actor) {
                self.end_and_reissue(task, actor, FailureReason::Abandoned);
            }
        }
        Ok(())
    }

    /// Records are durable: their outcomes go to training, in this order.
    pub(crate) fn deliver(&self, records: Vec<Record>) {
        let Some(last) = records.last().map(|record| record.sequence) else {
            return;
        };
        let pairs = records.iter().filter(|record| record.outcome.is_pair()).count();
        let news = self.audience.get().map(|audience| {
            let creatives = shown::creatives(&records, &self.identity, &self.assortment);
            (audience, creatives)
        });
        records.into_iter().for_each(|record| self.buffer.push(record));
        self.note_left_over();
        self.ledger.delivered(last, pairs);
        // Told last: neither training nor who waits for an acknowledgement waits for a page that is being drawn.
        if let Some((audience, creatives)) = news {
            audience.hear(creatives);
        }
    }

    /// A version was trained: it is announced with what its training measured.
    pub(crate) fn publish(&self, version: PolicyVersion, weights: Weights, metrics: VersionMetrics) {
        let last = version.number >= self.admission.versions;
        let news = self
            .audience
            .get()
            .map(|audience| (audience, metrics.values.clone()));
        self.metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(metrics);
        // Known before it is announced, so that nobody samples from a version that is unknown here.
        self.buffer.published(version);
        self.broadcast.publish(version, weights, last);
        if let Some((audience, values)) = news {
            audience.hear_of_version(version, values);
        }
    }

    /// Whether `version` is one of this run that can be sampled from.
    ///
    /// # Errors
    /// [`UnknownVersion`] when it is not.
    fn check_published(&self, version: PolicyVersion) -> Result<(), UnknownVersion> {
        match is_published(version, &self.buffer.progress()) {
            true => Ok(()),
            false => Err(UnknownVersion(version)),
        }
    }

    /// How many versions the run is to publish.
    pub(crate) fn versions(&self) -> u64 {
        self.admission.versions
    }

    /// Whether all versions are published.
    pub(crate) fn is_complete(&self) -> bool {
        self.buffer.progress().version.number >= self.versions()
    }

    /// What was measured for each version, from position `from` on.
    pub(crate) fn metrics(&self, from: usize) -> Vec<VersionMetrics> {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.iter().skip(from).cloned().collect()
    }

    /// What was measured for the first version of this start and for the newest; `None` before there is one.
    pub(crate) fn first_and_newest_metrics(&self) -> Option<[VersionMetrics; 2]> {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        Some([metrics.first()?.clone(), metrics.last()?.clone()])
    }

    /// How tasks ended so far.
    pub(crate) fn outcomes(&self) -> OutcomeCounts {
        self.ledger.counts()
    }

    /// Nothing more is leased: whoever asks is told why.
    pub(crate) fn fail(&self, what: Failure) {
        // Only the first failure is told: later ones follow from it.
        let _ = self.failure.set(what);
    }

    /// Why nothing more is leased, if that is so.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// From now on somebody is told of every durable record and every version.
    pub(crate) fn tell(&self, audience: Audience) {
        // A run is shown once.
        let _ = self.audience.set(audience);
    }

    /// The products.
    pub(crate) fn assortment(&self) -> &Assortment {
        &self.assortment
    }

    /// Whether equal seeds give equal bytes.
    pub(crate) fn deterministic(&self) -> bool {
        self.admission.deterministic
    }

    /// Which start of the run's learner this is.
    pub(crate) fn epoch(&self) -> LearnerEpoch {
        self.ledger.epoch()
    }

    /// How many leases are open.
    pub(crate) fn open_leases(&self) -> usize {
        self.leases.open()
    }

    /// The trace of a task: that of whoever works on it.
    pub(crate) fn trace_of(&self, task: TaskId) -> TraceId {
        TraceId::of(self.identity.run_seed, task.0)
    }

    /// How long a lease lasts.
    pub(crate) fn lease_ttl(&self) -> Duration {
        self.terms.ttl
    }

    /// The only reward model whose scores the run takes; `None`: any.
    pub(crate) fn reward_model(&self) -> Option<Digest> {
        self.terms.reward_model
    }

    fn record(&self, outcome: RolloutOutcome, actor: Option<&ActorId>) -> Receipt {
        let task = self.assortment.task(outcome.task());
        match self.ledger.record(outcome, task, actor) {
            Recorded::First => Receipt::Recorded,
            Recorded::Already { digest } => Receipt::AlreadyRecorded(digest),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Receipt {
        tracing::warn!(%refusal, "outcome refused");
        self.ledger.count_refused();
        Receipt::Refused(refusal)
    }
}

fn is_published(version: PolicyVersion, progress: &Progress) -> bool {
    version.epoch == progress.version.epoch && version <= progress.version
}

#[cfg(test)]
mod tests;

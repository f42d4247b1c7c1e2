//! Leases as they are given, handed back and run out. Whether any may be given is `admission.rs`'s affair, which task comes next
//! `task_queue.rs`'s; who holds what stands in `leases.rs`.

use super::{ControlPlane, LeaseDenied, UnknownVersion, is_published};
use crate::admission::{Allowance, Pause, Situation};
use crate::leases::Lease;
use crate::task_queue::{Attempt, TaskQueue};
use common::{ActorId, Blame, FailureReason, PolicyVersion, ProductTask, RolloutOutcome, TaskId};
use failpoint::Mutation;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

/// The answer to an actor that asks for tasks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LeaseAnswer {
    /// Tasks, at least one.
    Tasks(Vec<ProductTask>),
    /// Nothing now.
    Wait(Pause),
    /// The run needs no more rollouts.
    Complete,
}

impl ControlPlane {
    /// A process of this name joins that knows nothing of the run yet: whoever went by the name before it is gone.
    pub(crate) fn begins(&self, actor: &ActorId) {
        self.leases.leave_behind(actor);
    }

    /// Leases up to `wanted` tasks to an actor that samples from `policy`. One that still holds tasks gets those again:
    /// actors work on one lease at a time, so the answer that gave them was lost. What was given to a process before it is
    /// given up first, and that was an attempt: a task that kills its actor must end, whatever its actors are called.
    ///
    /// # Errors
    /// [`LeaseDenied`] when this run has not published `policy`, or the actor is in quarantine.
    pub(crate) fn lease(
        &self,
        actor: &ActorId,
        policy: PolicyVersion,
        wanted: usize,
        now: Instant,
    ) -> Result<LeaseAnswer, LeaseDenied> {
        let answer = self.try_lease(actor, policy, wanted, now);
        self.note_lease(actor, answer.as_ref().ok(), now);
        answer
    }

    fn try_lease(
        &self,
        actor: &ActorId,
        policy: PolicyVersion,
        wanted: usize,
        now: Instant,
    ) -> Result<LeaseAnswer, LeaseDenied> {
        self.actors.seen(actor, now);
        if let Some(reason) = self.actors.quarantine(actor) {
            return Err(LeaseDenied::Quarantined(reason));
        }
        if self.is_complete() {
            return Ok(LeaseAnswer::Complete);
        }
        self.end_left_behind(actor);
        let mut queue = self.queue();
        // Before the buffer is asked: a pair that is delivered in between is counted twice, which only makes admission
        // stricter.
        let undelivered = self.ledger.undelivered();
        let progress = self.buffer.progress();
        if !is_published(policy, &progress) {
            return Err(UnknownVersion(policy).into());
        }
        let deadline = now + self.terms.ttl;
        let held = self.leases.renew(actor, deadline, wanted);
        if !held.is_empty() {
            tracing::info!(%actor, tasks = held.len(), "leases given again: their answer was lost");
            return Ok(self.tasks(held));
        }
        let situation = Situation {
            version: progress.version.number,
            training: progress.training,
            fresh: progress.fresh + undelivered,
            open: self.leases.open(),
            behaviour: policy.number,
        };
        let taken = match self.admission.allow(&situation, wanted) {
            Allowance::Wait(pause) => return Ok(LeaseAnswer::Wait(pause)),
            Allowance::Tasks(count) => queue.take(count),
            Allowance::Block { count, end } => queue.take_run(count, end),
        };
        let open: Vec<Attempt> = taken
            .into_iter()
            .filter(|(task, _)| !self.ledger.has(*task))
            .collect();
        if open.is_empty() {
            return Ok(LeaseAnswer::Wait(Pause::AllLeased));
        }
        for &(task, tries) in &open {
            self.leases.give(
                task,
                Lease {
                    holder: actor.clone(),
                    deadline,
                    tries,
                    version: policy,
                    left_behind: false,
                },
            );
        }
        Ok(self.tasks(open.into_iter().map(|(task, _)| task)))
    }

    fn tasks(&self, tasks: impl IntoIterator<Item = TaskId>) -> LeaseAnswer {
        let tasks = tasks.into_iter().map(|task| self.assortment.task(task));
        LeaseAnswer::Tasks(tasks.collect())
    }

    /// Takes back tasks that `actor` holds; returns how many those were.
    pub(crate) fn hand_back(&self, actor: &ActorId, tasks: &[TaskId], now: Instant) -> u32 {
        self.actors.seen(actor, now);
        self.note_pause(actor);
        tasks
            .iter()
            .map(|&task| u32::from(self.end_and_reissue(task, actor, FailureReason::Abandoned)))
            .sum()
    }

    /// An actor takes no further part.
    pub(crate) fn leave(&self, actor: &ActorId) {
        self.note_pause(actor);
        self.actors.left(actor);
    }

    /// Ends every lease that ran out longer than the grace period ago.
    pub(crate) fn expire(&self, now: Instant) {
        let Some(latest) = now.checked_sub(self.terms.grace) else {
            return;
        };
        if failpoint::breaks(Mutation::EternalLease) {
            return;
        }
        for (task, lease) in self.leases.expire(latest) {
            tracing::warn!(task = task.0, actor = %lease.holder, attempt = lease.tries.attempt, "lease ran out");
            self.abandoned(task, &lease);
        }
    }

    /// Nobody waits for a lease to run out whose holder is known to be gone.
    fn end_left_behind(&self, actor: &ActorId) {
        for (task, lease) in self.leases.end_left_behind(actor) {
            tracing::warn!(task = task.0, %actor, attempt = lease.tries.attempt, "lease left behind: its actor was started anew");
            self.abandoned(task, &lease);
        }
    }

    fn abandoned(&self, task: TaskId, lease: &Lease) {
        self.ledger.count_expired();
        self.note_pause(&lease.holder);
        self.reissue(task, lease, FailureReason::Abandoned, Blame::Task);
    }

    pub(super) fn end_and_reissue(&self, task: TaskId, actor: &ActorId, reason: FailureReason) -> bool {
        self.end_and_blame(task, actor, reason, Blame::Task)
    }

    /// The same where it is known what is to blame.
    pub(super) fn end_and_blame(
        &self,
        task: TaskId,
        actor: &ActorId,
        reason: FailureReason,
        blame: Blame,
    ) -> bool {
        let ended = self.leases.end(task, actor);
        ended
            .inspect(|lease| self.reissue(task, lease, reason, blame))
            .is_some()
    }

    /// Whether a task may be leased again when this lease of it has ended without a terminal outcome.
    pub(super) fn may_be_leased_again(&self, lease: &Lease, blame: Blame) -> bool {
        lease.tries.next(blame).attempt <= self.terms.max_attempts
    }

    /// Queues a task again, or gives it up after its last attempt for the reason that attempt ended.
    fn reissue(&self, task: TaskId, lease: &Lease, reason: FailureReason, blame: Blame) {
        if self.may_be_leased_again(lease, blame) {
            self.queue().put_back(task, lease.tries.next(blame));
            return;
        }
        let attempts = lease.tries.attempt;
        let detail = format!("no outcome in {attempts} attempts");
        tracing::warn!(task = task.0, attempts, "task given up");
        let given_up = RolloutOutcome::Failed {
            task,
            reason,
            retryable: false,
            blame: Blame::Task,
            detail,
        };
        self.record(given_up, None);
    }

    fn queue(&self) -> MutexGuard<'_, TaskQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

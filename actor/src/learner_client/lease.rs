//! The learner's answer to a request for tasks, and the time that leased tasks have.

use common::{Digest, ProductTask};
use proto::{
    InvalidMessage,
    pb::{self, lease_tasks_response::Answer},
    required,
    trace::TraceId,
};
use std::time::Duration;
use tokio::time::Instant;

/// The longest wait that a learner's answer can ask for: a damaged answer must not put an actor to sleep for days.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The longest time that a lease is taken for.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 3600);

/// The answer.
#[derive(Debug)]
pub(crate) enum LeaseAnswer {
    /// Tasks.
    Lease(Lease),
    /// Nothing now; ask again after this long, or with newer weights.
    Wait(Duration),
    /// The run needs no more rollouts.
    Complete,
}

/// Tasks at hand, worked on as one rollout.
#[derive(Debug)]
pub(crate) struct Lease {
    /// At least one.
    pub(crate) tasks: Vec<ProductTask>,
    /// The trace of their rollout, named after the run's seed and the first task: whoever repeats it repeats the name.
    pub(crate) trace: TraceId,
    /// The only reward model whose scores the run takes; `None`: any.
    pub(crate) reward_model: Option<Digest>,
    /// The run's seed, after which the samples are named.
    run_seed: u64,
    asked: Instant,
    ttl: Duration,
}

impl Lease {
    /// One of these tasks that was asked for now.
    #[cfg(test)]
    pub(crate) fn of(tasks: Vec<ProductTask>, ttl: Duration) -> Self {
        Self {
            tasks,
            trace: TraceId::of(0, 0),
            reward_model: None,
            run_seed: 0,
            asked: Instant::now(),
            ttl,
        }
    }

    /// The traces of its samples, in the tasks' order.
    pub(crate) fn samples(&self) -> impl Iterator<Item = TraceId> + '_ {
        self.tasks.iter().map(|task| self.sample(task))
    }

    /// The trace of what becomes of a task.
    pub(crate) fn sample(&self, task: &ProductTask) -> TraceId {
        TraceId::of(self.run_seed, task.id.0)
    }

    /// How long ago it was asked for.
    pub(crate) fn since_asked(&self) -> Duration {
        self.asked.elapsed()
    }

    /// When its rewards must be there: a quarter of it is kept for the steps that follow, since outcomes that come too late
    /// are refused. Counted from before it was asked for: later by the learner's clock.
    pub(crate) fn scored_by(&self) -> Instant {
        self.asked + self.ttl * 3 / 4
    }

    /// When images must be there that somebody else renders: a quarter of the lease is kept for scoring them.
    pub(crate) fn rendered_by(&self) -> Instant {
        self.asked + self.ttl / 2
    }
}

impl LeaseAnswer {
    /// Checks the answer to a question that was asked at `asked`, in the run of this seed.
    ///
    /// # Errors
    /// [`InvalidMessage`] naming what is missing or malformed.
    pub(crate) fn read(
        response: pb::LeaseTasksResponse,
        asked: Instant,
        run_seed: u64,
    ) -> Result<Self, InvalidMessage> {
        match required("lease_tasks_response.answer", response.answer)? {
            Answer::Lease(lease) => {
                InvalidMessage::check_batch("task_lease.tasks", lease.tasks.len())?;
                let tasks = lease.tasks.into_iter().map(ProductTask::try_from);
                let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
                Ok(Self::Lease(Lease {
                    trace: TraceId::of(run_seed, tasks[0].id.0),
                    reward_model: lease.reward_model.map(Digest::try_from).transpose()?,
                    tasks,
                    run_seed,
                    asked,
                    ttl: Duration::from_millis(lease.ttl_ms).min(LONGEST_LEASE),
                }))
            }
            Answer::Wait(wait) => {
                let pause = Duration::from_millis(wait.retry_after_ms.max(1));
                Ok(Self::Wait(pause.min(LONGEST_WAIT)))
            }
            Answer::Complete(pb::RunComplete {}) => Ok(Self::Complete),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease_of(tasks: Vec<pb::ProductTask>, ttl_ms: u64) -> pb::TaskLease {
        pb::TaskLease {
            tasks,
            ttl_ms,
            reward_model: Some(Digest::from_bytes([6; 32]).into()),
        }
    }

    fn read(answer: Option<Answer>) -> Result<LeaseAnswer, InvalidMessage> {
        LeaseAnswer::read(pb::LeaseTasksResponse { answer }, Instant::now(), 7)
    }

    #[test]
    fn an_answer_that_says_nothing_is_refused() {
        assert!(read(None).is_err());
        let (tasks, ttl_ms) = (vec![], 5);
        let empty = read(Some(Answer::Lease(lease_of(tasks, ttl_ms)))).unwrap_err();
        assert_eq!(empty.field, "task_lease.tasks");
    }

    #[test]
    fn a_wait_is_neither_a_busy_loop_nor_days() {
        let wait = |retry_after_ms| {
            read(Some(Answer::Wait(pb::Wait {
                retry_after_ms,
                reason: 1,
            })))
            .unwrap()
        };
        assert!(matches!(wait(0), LeaseAnswer::Wait(pause) if pause == Duration::from_millis(1)));
        assert!(matches!(wait(u64::MAX), LeaseAnswer::Wait(pause) if pause == LONGEST_WAIT));
    }

    #[test]
    fn scoring_ends_before_the_lease_does_whatever_the_learner_says() {
        for (ttl_ms, most) in [(0, 0), (60_000, 45), (u64::MAX, 18 * 3600)] {
            let task = pb::ProductTask {
                task: 3,
                product: "lamp".into(),
                image: Some(Digest::from_bytes([1; 32]).into()),
                ..Default::default()
            };
            let tasks = vec![task];
            let LeaseAnswer::Lease(lease) = read(Some(Answer::Lease(lease_of(tasks, ttl_ms)))).unwrap()
            else {
                panic!("no lease")
            };
            let left = lease.scored_by().saturating_duration_since(Instant::now());
            assert!(left <= Duration::from_secs(most));
            assert_eq!(lease.trace, TraceId::of(7, 3));
            assert_eq!(lease.reward_model, Some(Digest::from_bytes([6; 32])));
        }
    }
}

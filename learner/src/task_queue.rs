//! Which tasks are leased next: those that came back first, then new ones in order.

use common::{Blame, TaskId};
use std::collections::BTreeMap;

/// So often a task is leased again for a service that failed it, before that is taken for the task's own doing: one that brings every
/// service down must not be offered for ever.
const MOST_UNDONE: u32 = 32;

/// The tasks nobody holds and nobody has finished.
#[derive(Debug, Default)]
pub(crate) struct TaskQueue {
    /// Every task from here on is new.
    next: u64,
    /// Tasks to lease again, with the attempt that comes next.
    again: BTreeMap<TaskId, Tries>,
}

/// A task and how often it will have been tried.
pub(crate) type Attempt = (TaskId, Tries);

/// How often a task has been leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tries {
    /// Those that count, from 1 on: the lease that is open included.
    pub(crate) attempt: u32,
    /// Those that do not, for a service left them undone.
    undone: u32,
}

impl Tries {
    /// Of a task that is leased for the first time.
    pub(crate) const FIRST: Self = Self {
        attempt: 1,
        undone: 0,
    };

    /// Those of its next lease, when this one has ended without a terminal outcome, and what is to blame for that. A service without
    /// room has not looked at the task.
    pub(crate) fn next(self, blame: Blame) -> Self {
        match blame {
            Blame::FullService => self,
            Blame::Service if self.undone < MOST_UNDONE => Self {
                undone: self.undone + 1,
                ..self
            },
            Blame::Service | Blame::Task => Self {
                attempt: self.attempt + 1,
                ..self
            },
        }
    }
}

impl TaskQueue {
    /// All tasks from `next` on are new.
    pub(crate) fn from(next: TaskId) -> Self {
        Self {
            next: next.0,
            again: BTreeMap::new(),
        }
    }

    /// Puts a task back for another lease.
    pub(crate) fn put_back(&mut self, task: TaskId, tries: Tries) {
        self.again.insert(task, tries);
    }

    /// Takes up to `count` tasks.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Attempt> {
        (0..count).map(|_| self.take_lowest()).collect()
    }

    /// Takes up to `count` consecutive tasks below `end`, never across a multiple of `count`: the composition of a lease
    /// then depends on task numbers alone, not on who asked when.
    pub(crate) fn take_run(&mut self, count: usize, end: u64) -> Vec<Attempt> {
        let mut run: Vec<Attempt> = vec![];
        let block_end = |first: u64| (first / count as u64 + 1) * count as u64;
        while run.len() < count {
            let lowest = self.lowest();
            let follows = match (run.first(), run.last()) {
                (Some((first, _)), Some((last, _))) => {
                    lowest.0 == last.0 + 1 && lowest.0 < block_end(first.0)
                }
                _ => true,
            };
            if !follows || lowest.0 >= end {
                break;
            }
            run.push(self.take_lowest());
        }
        run
    }

    fn lowest(&self) -> TaskId {
        self.again
            .first_key_value()
            .map_or(TaskId(self.next), |(&task, _)| task)
    }

    fn take_lowest(&mut self) -> Attempt {
        self.again.pop_first().unwrap_or_else(|| {
            self.next += 1;
            (TaskId(self.next - 1), Tries::FIRST)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(taken: Vec<Attempt>) -> Vec<u64> {
        taken.into_iter().map(|(task, _)| task.0).collect()
    }

    #[test]
    fn tasks_that_came_back_go_first_with_their_attempt() {
        let mut queue = TaskQueue::default();
        assert_eq!(numbers(queue.take(3)), [0, 1, 2]);
        let second = Tries::FIRST.next(Blame::Task);
        queue.put_back(TaskId(1), second);
        assert_eq!(queue.take(2), [(TaskId(1), second), (TaskId(3), Tries::FIRST)]);
    }

    #[test]
    fn a_service_that_fails_costs_no_attempt_unless_it_always_does_and_one_that_is_full_never_does() {
        let after = |times, blame| {
            (0..times)
                .fold(Tries::FIRST, |tries, _| tries.next(blame))
                .attempt
        };
        assert_eq!(after(2, Blame::Task), 3);
        assert_eq!(after(MOST_UNDONE, Blame::Service), 1);
        assert_eq!(after(MOST_UNDONE + 2, Blame::Service), 3);
        assert_eq!(after(10_000, Blame::FullService), 1);
    }

    #[test]
    fn runs_are_the_same_blocks_whoever_asks_and_whatever_came_back() {
        let mut queue = TaskQueue::default();
        assert_eq!(numbers(queue.take_run(4, 10)), [0, 1, 2, 3]);
        assert_eq!(numbers(queue.take_run(4, 10)), [4, 5, 6, 7]);
        for task in 0..4 {
            queue.put_back(TaskId(task), Tries::FIRST);
        }
        assert_eq!(numbers(queue.take_run(4, 10)), [0, 1, 2, 3]);
        queue.put_back(TaskId(2), Tries::FIRST);
        assert_eq!(numbers(queue.take_run(4, 10)), [2]);
        assert_eq!(numbers(queue.take_run(4, 10)), [8, 9]);
        assert!(queue.take_run(4, 10).is_empty());
        assert_eq!(numbers(queue.take_run(4, 20)), [10, 11]);
    }
}

//! Which tasks have ended, and the digest of the outcome that stands for each: all that a run remembers of them for as long as it
//! lasts.
//!
//! Tasks are handed out in order, so nearly every one below the newest has ended. They lie in pages of neighbours, 33 bytes each; an
//! ordered map takes some 70.

use common::{Digest, TaskId};
use std::collections::BTreeMap;

/// Tasks in a page.
const PAGE: usize = 256;

/// The ended tasks of a run.
#[derive(Debug, Default)]
pub(super) struct EndedTasks {
    /// By the number of the first task over [`PAGE`].
    pages: BTreeMap<u64, Page>,
}

/// Tasks that follow each other, ended or not.
type Page = Box<[Option<Digest>; PAGE]>;

impl EndedTasks {
    /// A task has ended.
    pub(super) fn insert(&mut self, task: TaskId, outcome: Digest) {
        let (page, place) = locate(task);
        let page = self.pages.entry(page).or_insert_with(|| Box::new([None; PAGE]));
        page[place] = Some(outcome);
    }

    /// The outcome that stands for a task, if it has ended.
    pub(super) fn outcome_of(&self, task: TaskId) -> Option<Digest> {
        let (page, place) = locate(task);
        self.pages.get(&page)?[place]
    }

    /// The first task that has not ended.
    pub(super) fn first_open(&self) -> TaskId {
        let mut first = 0;
        for (&number, page) in &self.pages {
            let begins = number * PAGE as u64;
            if begins > first {
                break;
            }
            let ended = page.iter().take_while(|outcome| outcome.is_some()).count();
            first = begins + ended as u64;
            if ended < PAGE {
                break;
            }
        }
        TaskId(first)
    }
}

/// The page of a task, and its place in it.
fn locate(task: TaskId) -> (u64, usize) {
    let page = PAGE as u64;
    (task.0 / page, (task.0 % page) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome(task: u64) -> Digest {
        store::digest(&task.to_le_bytes())
    }

    proptest! {
        #[test]
        fn what_has_ended_is_found_again_and_the_first_gap_is_open(
            dense in 0u64..700,
            others in prop::collection::btree_set(0u64..1500, 0..40),
            left_out in prop::option::of(0u64..700),
        ) {
            let kept = |task: &u64| Some(*task) != left_out;
            let tasks: std::collections::BTreeSet<u64> = (0..dense).chain(others).filter(kept).collect();
            let mut ended = EndedTasks::default();
            for &task in tasks.iter().rev() {
                ended.insert(TaskId(task), outcome(task));
            }
            for task in 0..1600 {
                let expected = tasks.contains(&task).then(|| outcome(task));
                prop_assert_eq!(ended.outcome_of(TaskId(task)), expected);
            }
            let open = (0..).find(|task| !tasks.contains(task)).unwrap();
            prop_assert_eq!(ended.first_open(), TaskId(open));
        }
    }

    #[test]
    fn a_task_of_any_number_takes_one_page() {
        let mut ended = EndedTasks::default();
        for task in [u64::MAX, u64::MAX - 1] {
            ended.insert(TaskId(task), outcome(task));
        }
        assert_eq!(ended.outcome_of(TaskId(u64::MAX)), Some(outcome(u64::MAX)));
        assert_eq!((ended.first_open(), ended.pages.len()), (TaskId(0), 1));
    }
}

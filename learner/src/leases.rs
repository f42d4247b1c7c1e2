//! Who works on which task until when.
//!
//! A lease ends by an outcome, by being handed back, or by running out; the clock is an argument. Which task is leased next
//! is `task_queue.rs`; whether any may be leased at all is `admission.rs`.

use crate::task_queue::Tries;
use common::{ActorId, PolicyVersion, TaskId};
use dashmap::DashMap;
use std::collections::BTreeSet;
use std::time::Instant;

/// One task in an actor's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Who holds it.
    pub(crate) holder: ActorId,
    /// When it runs out.
    pub(crate) deadline: Instant,
    /// The leases of the task, this one included: those that count as attempts, and those that a service left undone.
    pub(crate) tries: Tries,
    /// The version its holder samples from.
    pub(crate) version: PolicyVersion,
    /// Whether another process goes by its holder's name since: whoever it was given to is gone.
    pub(crate) left_behind: bool,
}

/// The open leases of a run.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    open: DashMap<TaskId, Lease>,
    /// The tasks of each holder. A task leaves here before it leaves `open`, and comes here after: what is here may be over, what is
    /// open and not here is about to end or has just begun.
    held: DashMap<ActorId, BTreeSet<TaskId>>,
}

impl LeaseTable {
    /// Gives a task to an actor.
    pub(crate) fn give(&self, task: TaskId, lease: Lease) {
        let holder = lease.holder.clone();
        let before = self.open.insert(task, lease);
        debug_assert!(before.is_none(), "{task} was leased twice");
        self.held.entry(holder).or_default().insert(task);
    }

    /// The lease of `task`, if `holder` has it.
    pub(crate) fn held(&self, task: TaskId, holder: &ActorId) -> Option<Lease> {
        self.open
            .get(&task)
            .filter(|lease| lease.holder == *holder)
            .map(|lease| lease.clone())
    }

    /// The tasks that `holder` has, in order.
    pub(crate) fn held_by(&self, holder: &ActorId) -> Vec<TaskId> {
        let held = self.held.get(holder);
        held.map_or_else(Vec::new, |held| held.iter().copied().collect())
    }

    /// Lets up to `most` leases of `holder` last until `deadline`; returns their tasks in order.
    pub(crate) fn renew(&self, holder: &ActorId, deadline: Instant, most: usize) -> Vec<TaskId> {
        let mut held = self.held_by(holder);
        held.truncate(most);
        held.retain(|task| match self.open.get_mut(task) {
            Some(mut lease) if lease.holder == *holder => {
                lease.deadline = deadline;
                true
            }
            _ => false,
        });
        held
    }

    /// Ends the lease of `task` if `holder` has it, and returns it. Of several callers exactly one gets it.
    pub(crate) fn end(&self, task: TaskId, holder: &ActorId) -> Option<Lease> {
        self.forget(task, holder);
        self.open
            .remove_if(&task, |_, lease| lease.holder == *holder)
            .map(|(_, lease)| lease)
    }

    /// A process begins that goes by this name: what the name holds was given to one before it.
    pub(crate) fn leave_behind(&self, holder: &ActorId) {
        for task in self.held_by(holder) {
            if let Some(mut lease) = self.open.get_mut(&task)
                && lease.holder == *holder
            {
                lease.left_behind = true;
            }
        }
    }

    /// Ends what processes before this one of `holder`'s name were given, in task order.
    pub(crate) fn end_left_behind(&self, holder: &ActorId) -> Vec<(TaskId, Lease)> {
        let mut held = self.held_by(holder);
        held.retain(|task| self.held(*task, holder).is_some_and(|lease| lease.left_behind));
        held.into_iter()
            .filter_map(|task| Some((task, self.end_if(task, holder, |lease| lease.left_behind)?)))
            .collect()
    }

    /// Ends every lease whose deadline is not after `now`, in task order.
    pub(crate) fn expire(&self, now: Instant) -> Vec<(TaskId, Lease)> {
        let late = self.open.iter().filter(|entry| entry.deadline <= now);
        let late: Vec<(TaskId, ActorId)> = late.map(|entry| (*entry.key(), entry.holder.clone())).collect();
        let mut ended = Vec::with_capacity(late.len());
        for (task, holder) in late {
            let lease = self.end_if(task, &holder, |lease| lease.deadline <= now);
            ended.extend(lease.map(|lease| (task, lease)));
        }
        ended.sort_unstable_by_key(|(task, _)| *task);
        ended
    }

    fn end_if(&self, task: TaskId, holder: &ActorId, is_over: impl Fn(&Lease) -> bool) -> Option<Lease> {
        self.forget(task, holder);
        let of_holder = |_: &TaskId, lease: &Lease| lease.holder == *holder && is_over(lease);
        if let Some((_, lease)) = self.open.remove_if(&task, of_holder) {
            return Some(lease);
        }
        // It was renewed or given anew meanwhile, or has ended.
        if self.held(task, holder).is_some() {
            self.held.entry(holder.clone()).or_default().insert(task);
        }
        None
    }

    fn forget(&self, task: TaskId, holder: &ActorId) {
        if let Some(mut held) = self.held.get_mut(holder) {
            held.remove(&task);
        }
        self.held.remove_if(holder, |_, held| held.is_empty());
    }

    /// How many leases are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::version;
    use std::time::Duration;

    fn actor(name: &str) -> ActorId {
        ActorId::new(name).unwrap()
    }

    fn lease(holder: &str, deadline: Instant) -> Lease {
        Lease {
            holder: actor(holder),
            deadline,
            tries: Tries::FIRST,
            version: version(0),
            left_behind: false,
        }
    }

    #[test]
    fn only_the_holder_can_end_a_lease_and_only_once() {
        let table = LeaseTable::default();
        table.give(TaskId(1), lease("a", Instant::now()));
        assert_eq!(table.end(TaskId(1), &actor("b")), None);
        assert_eq!(table.open(), 1);
        assert!(table.held(TaskId(1), &actor("a")).is_some());
        assert!(table.end(TaskId(1), &actor("a")).is_some());
        assert_eq!(table.end(TaskId(1), &actor("a")), None);
    }

    #[test]
    fn only_the_holders_leases_last_longer_and_only_as_many_as_asked_for() {
        let (table, start) = (LeaseTable::default(), Instant::now());
        for (task, holder) in [(3, "a"), (1, "b"), (2, "a"), (0, "a")] {
            table.give(TaskId(task), lease(holder, start));
        }
        let later = start + Duration::from_secs(5);
        assert_eq!(table.renew(&actor("a"), later, 2), [TaskId(0), TaskId(2)]);
        let ended = table.expire(start);
        assert_eq!(ended.iter().map(|(task, _)| task.0).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn what_a_name_left_behind_ends_once_and_neither_what_it_was_given_since_nor_what_others_hold() {
        let (table, start) = (LeaseTable::default(), Instant::now());
        for (task, holder) in [(2, "a"), (1, "b"), (0, "a")] {
            table.give(TaskId(task), lease(holder, start));
        }
        assert!(table.end_left_behind(&actor("a")).is_empty());
        table.leave_behind(&actor("a"));
        table.give(TaskId(3), lease("a", start));
        let ended = table.end_left_behind(&actor("a"));
        assert_eq!(ended.iter().map(|(task, _)| task.0).collect::<Vec<_>>(), [0, 2]);
        assert!(table.end_left_behind(&actor("a")).is_empty());
        assert_eq!(
            (table.held_by(&actor("a")), table.held_by(&actor("b"))),
            (vec![TaskId(3)], vec![TaskId(1)])
        );
    }

    #[test]
    fn a_lease_runs_out_at_its_deadline_and_not_before() {
        let (table, start) = (LeaseTable::default(), Instant::now());
        for (task, seconds) in [(5, 10), (3, 10), (4, 20)] {
            table.give(TaskId(task), lease("a", start + Duration::from_secs(seconds)));
        }
        assert!(table.expire(start + Duration::from_millis(9_999)).is_empty());
        let ended = table.expire(start + Duration::from_secs(10));
        assert_eq!(ended.iter().map(|(task, _)| task.0).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(table.open(), 1);
    }
}

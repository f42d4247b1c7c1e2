//! Pairs between their arrival and their training, and where the run stands.
//!
//! The training thread blocks on `next_batch`; handlers push and never wait. Normally a batch is the next pairs in order of
//! arrival, those that grew too stale refused and counted; what is left when the run ends is refused and counted too. A
//! deterministic run instead takes all pairs of the version's own block of tasks, in task order, once every task of the block
//! has ended. Every batch knows its cursor: the records before it are in the weights that come of it, or refused for good.

use crate::error::LearnerError;
use crate::ledger::{OutcomeCounts, Record};
use crate::training_pair::{Account, PairBatch, PairSource, Sampled};
use common::{PolicyVersion, PreferencePair, RolloutOutcome, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How batches are formed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchRule {
    /// Pairs of a batch; tasks of a block when deterministic.
    pub(crate) pairs_per_version: usize,
    /// Versions a pair may lie behind when it is trained.
    pub(crate) max_staleness: u64,
    /// Whether a batch is a block of tasks.
    pub(crate) deterministic: bool,
    /// Give up after this many tasks without a full batch.
    pub(crate) max_tasks: usize,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The newest published version.
    pub(crate) version: PolicyVersion,
    /// Whether its successor is being trained.
    pub(crate) training: bool,
    /// Pairs that wait.
    pub(crate) fresh: usize,
    /// Pairs that published versions were trained from.
    pub(crate) trained: u64,
    /// Pairs that no version will be trained from.
    pub(crate) refused: Refused,
}

/// Pairs that were not trained on, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// They lay too many versions behind.
    pub(crate) stale: u64,
    /// The run ended before they were trained on.
    pub(crate) run_ended: u64,
    /// The version that sampled them is no part of the run any more.
    pub(crate) retired: u64,
}

impl Refused {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.stale + self.run_ended + self.retired
    }

    /// All of them by the reason's name.
    pub(crate) fn by_reason(self) -> BTreeMap<String, u64> {
        [
            ("stale", self.stale),
            ("run_ended", self.run_ended),
            ("retired", self.retired),
        ]
        .map(|(reason, count)| (reason.to_owned(), count))
        .into()
    }
}

/// The buffer between the service and the training thread.
#[derive(Debug)]
pub(crate) struct PairBuffer {
    rule: BatchRule,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    closed: bool,
    /// Whether the run is over, so that nothing will be trained any more.
    ended: bool,
    /// Pairs of the batch that is being trained.
    in_training: u64,
    fresh: VecDeque<Fresh>,
    /// Refused pairs behind the last batch's cursor: a later start would refuse them again.
    ahead: Vec<(u64, Refusal)>,
    /// The sequence behind the last record that came.
    next: u64,
    since: Since,
}

/// A pair that waits.
#[derive(Debug)]
struct Fresh {
    sequence: u64,
    pair: PreferencePair,
}

/// Why a pair is not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Stale,
    Retired,
}

/// What ended since the last batch was taken.
#[derive(Debug, Default)]
struct Since {
    /// Mean rewards of groups without a pair, by task: a deterministic mean does not depend on the order of arrival.
    rewards: BTreeMap<TaskId, f64>,
    tasks: usize,
    counts: OutcomeCounts,
}

impl PairBuffer {
    /// An empty buffer of a run at `version`.
    pub(crate) fn new(rule: BatchRule, version: PolicyVersion) -> Self {
        let progress = Progress {
            version,
            training: false,
            fresh: 0,
            trained: 0,
            refused: Refused::default(),
        };
        let state = State {
            progress,
            closed: false,
            ended: false,
            in_training: 0,
            fresh: VecDeque::new(),
            ahead: vec![],
            next: 0,
            since: Since::default(),
        };
        Self {
            rule,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Goes on from what an earlier start came to.
    pub(crate) fn restore(&self, account: Account) {
        let mut state = self.state();
        state.progress.trained = account.trained;
        state.progress.refused = account.refused;
    }

    /// Takes in a terminal outcome. Records come in the order of their sequences.
    pub(crate) fn push(&self, record: Record) {
        let Record {
            sequence, outcome, ..
        } = record;
        let mut state = self.state();
        state.next = sequence + 1;
        state.since.tasks += 1;
        state.since.counts.add(&outcome);
        match outcome {
            RolloutOutcome::Pair(_) if state.ended => state.progress.refused.run_ended += 1,
            RolloutOutcome::Pair(pair) => state.fresh.push_back(Fresh { sequence, pair }),
            RolloutOutcome::NoPair { group, .. } => {
                state.since.rewards.insert(group.task(), group.mean_reward());
            }
            RolloutOutcome::Failed { .. } => {}
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Takes in an outcome as the next record.
    #[cfg(test)]
    pub(crate) fn arrive(&self, outcome: RolloutOutcome) {
        let sequence = self.state().next;
        self.push(crate::test_outcomes::record(sequence, outcome));
    }

    /// The pair of this record was sampled by a version that is no part of the run any more.
    pub(crate) fn refuse_retired(&self, sequence: u64) {
        let mut state = self.state();
        state.next = sequence + 1;
        state.refuse(sequence, Refusal::Retired);
    }

    /// `version` was published: its successor is what is collected for now.
    pub(crate) fn published(&self, version: PolicyVersion) {
        let mut state = self.state();
        state.progress.version = version;
        state.progress.training = false;
        state.progress.trained += std::mem::take(&mut state.in_training);
    }

    /// Training is over: the pairs it did not come to are refused, and those that still come.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        let left = std::mem::take(&mut state.in_training) + std::mem::take(&mut state.fresh).len() as u64;
        if left > 0 {
            tracing::info!(pairs = left, "pairs refused: the run has ended");
        }
        state.progress.refused.run_ended += left;
        state.progress.training = false;
        state.ended = true;
    }

    /// Ends every wait; no batch is given any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Where the run stands.
    pub(crate) fn progress(&self) -> Progress {
        let state = self.state();
        Progress {
            fresh: state.fresh.len(),
            ..state.progress
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PairSource for &PairBuffer {
    /// Waits for the batch. From then on the next version counts as being trained, until [`PairBuffer::published`].
    ///
    /// # Errors
    /// [`LearnerError::Cancelled`] when the buffer was closed, [`LearnerError::TooFewPairs`] when a deterministic block has
    /// no pair at all or too many tasks did not give enough pairs.
    fn next_batch(&mut self, version: PolicyVersion) -> Result<PairBatch, LearnerError> {
        let mut state = self.state();
        loop {
            if state.closed {
                return Err(LearnerError::Cancelled);
            }
            if let Some(batch) = state.take_batch(&self.rule, version)? {
                return Ok(batch);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn take_batch(
        &mut self,
        rule: &BatchRule,
        version: PolicyVersion,
    ) -> Result<Option<PairBatch>, LearnerError> {
        self.refuse_stale(rule, version);
        let (needed, ready) = match rule.deterministic {
            true => (1, self.since.tasks >= rule.pairs_per_version),
            false => (rule.pairs_per_version, self.fresh.len() >= rule.pairs_per_version),
        };
        let exhausted = if rule.deterministic {
            ready
        } else {
            self.since.tasks >= rule.max_tasks
        };
        if self.fresh.len() < needed && exhausted {
            let (tasks, pairs) = (self.since.tasks, self.fresh.len());
            let counts = std::mem::take(&mut self.since.counts);
            return Err(LearnerError::TooFewPairs {
                version,
                tasks,
                pairs,
                needed,
                counts: Box::new(counts),
            });
        }
        if !ready {
            return Ok(None);
        }
        let count = rule.pairs_per_version.min(self.fresh.len());
        let taken: Vec<Fresh> = self.fresh.drain(..count).collect();
        let last = taken.iter().map(|fresh| fresh.sequence).max();
        let account = match rule.deterministic {
            // The block is all there was.
            true => self.account(self.next, count),
            false => self.account(last.map_or(self.next, |last| last + 1), count),
        };
        let mut pairs: Vec<_> = taken.into_iter().map(|fresh| fresh.pair).collect();
        if rule.deterministic {
            pairs.sort_by_key(PreferencePair::task);
        }
        self.progress.training = true;
        self.in_training = pairs.len() as u64;
        Ok(Some(
            std::mem::take(&mut self.since).into_batch(version, pairs, account),
        ))
    }

    /// What the run will have come to when the next `pairs` are trained and the records before `cursor` are done with.
    fn account(&mut self, cursor: u64, pairs: usize) -> Account {
        self.ahead.retain(|(sequence, _)| *sequence >= cursor);
        let mut refused = self.progress.refused;
        for (_, refusal) in &self.ahead {
            match refusal {
                Refusal::Stale => refused.stale -= 1,
                Refusal::Retired => refused.retired -= 1,
            }
        }
        Account {
            cursor,
            trained: self.progress.trained + pairs as u64,
            refused,
        }
    }

    fn refuse(&mut self, sequence: u64, refusal: Refusal) {
        let refused = &mut self.progress.refused;
        match refusal {
            Refusal::Stale => refused.stale += 1,
            Refusal::Retired => refused.retired += 1,
        }
        self.ahead.push((sequence, refusal));
    }

    fn refuse_stale(&mut self, rule: &BatchRule, version: PolicyVersion) {
        let mut stale = vec![];
        self.fresh.retain(|Fresh { sequence, pair }| {
            let lag = staleness(version, pair);
            if lag > rule.max_staleness {
                tracing::warn!(task = pair.task().0, lag, "pair refused: too stale");
                stale.push(*sequence);
            }
            lag <= rule.max_staleness
        });
        stale
            .into_iter()
            .for_each(|sequence| self.refuse(sequence, Refusal::Stale));
    }
}

impl Since {
    fn into_batch(
        mut self,
        version: PolicyVersion,
        pairs: Vec<PreferencePair>,
        account: Account,
    ) -> PairBatch {
        self.rewards
            .extend(pairs.iter().map(|pair| (pair.task(), pair.group().mean_reward())));
        let mean_reward = self.rewards.values().sum::<f64>() / self.rewards.len() as f64;
        let staleness_max = pairs
            .iter()
            .map(|pair| staleness(version, pair))
            .max()
            .unwrap_or(0);
        PairBatch {
            version,
            pairs: pairs.iter().map(Into::into).collect(),
            sampled: Some(Sampled {
                mean_reward,
                no_pairs: self.tasks as u64 - self.counts.pairs,
                staleness_max,
                account,
            }),
        }
    }
}

fn staleness(version: PolicyVersion, pair: &PreferencePair) -> u64 {
    version.staleness_of(pair.chosen().trajectory.behaviour())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{failed, no_pair, pair, version};

    fn buffer(max_staleness: u64, deterministic: bool) -> PairBuffer {
        let rule = BatchRule {
            pairs_per_version: 3,
            max_staleness,
            deterministic,
            max_tasks: 12,
        };
        PairBuffer::new(rule, version(0))
    }

    fn tasks(batch: &PairBatch) -> Vec<u64> {
        batch.pairs.iter().map(|pair| pair.task.0).collect()
    }

    #[test]
    fn a_batch_is_the_next_pairs_in_order_of_arrival() {
        let buffer = buffer(1, false);
        for outcome in [
            pair(5, 0),
            no_pair(1, 0),
            pair(2, 0),
            failed(7, false),
            pair(9, 0),
            pair(4, 0),
        ] {
            buffer.arrive(outcome);
        }
        let batch = (&buffer).next_batch(version(0)).unwrap();
        assert_eq!(tasks(&batch), [5, 2, 9]);
        let sampled = Sampled {
            mean_reward: 0.5,
            no_pairs: 2,
            staleness_max: 0,
            account: Account {
                cursor: 5,
                trained: 3,
                refused: Refused::default(),
            },
        };
        assert_eq!(batch.sampled, Some(sampled));
        let expected = Progress {
            version: version(0),
            training: true,
            fresh: 1,
            trained: 0,
            refused: Refused::default(),
        };
        assert_eq!(buffer.progress(), expected);
        buffer.published(version(1));
        assert!(!buffer.progress().training);
        assert_eq!(buffer.progress().trained, 3);
    }

    #[test]
    fn i7_pairs_staler_than_allowed_are_refused_and_counted() {
        let buffer = buffer(1, false);
        for (task, sampled_by) in [(0, 0), (1, 2), (2, 1), (3, 3), (4, 2)] {
            buffer.arrive(pair(task, sampled_by));
        }
        let batch = (&buffer).next_batch(version(3)).unwrap();
        assert_eq!(tasks(&batch), [1, 3, 4]);
        assert_eq!(batch.sampled.unwrap().staleness_max, 1);
        assert_eq!(buffer.progress().refused.stale, 2);
    }

    #[test]
    fn i3_each_pair_is_trained_once_or_refused_once_with_its_reason() {
        let buffer = buffer(0, false);
        (0..3).for_each(|task| buffer.arrive(pair(task, 0)));
        (&buffer).next_batch(version(0)).unwrap();
        buffer.published(version(1));
        for (task, sampled_by) in [(3, 0), (4, 1), (5, 1), (6, 1), (7, 1)] {
            buffer.arrive(pair(task, sampled_by));
        }
        (&buffer).next_batch(version(1)).unwrap();
        // Version 2 is never published; task 7 waits, and task 8 comes too late.
        buffer.end();
        buffer.arrive(pair(8, 1));
        let Progress {
            fresh,
            trained,
            refused,
            ..
        } = buffer.progress();
        let expected = Refused {
            stale: 1,
            run_ended: 5,
            retired: 0,
        };
        assert_eq!((fresh, trained, refused), (0, 3, expected));
    }

    #[test]
    fn i3_the_account_of_a_batch_holds_what_lies_before_its_cursor_and_no_more() {
        let buffer = buffer(1, false);
        // Of seven records the third and the last but one are too stale; the batch ends with the fifth.
        for (task, sampled_by) in [(0, 1), (1, 2), (2, 0), (3, 2), (4, 2), (5, 0), (6, 2)] {
            buffer.arrive(pair(task, sampled_by));
        }
        let account = |batch: PairBatch| batch.sampled.unwrap().account;
        let refused = |stale| Refused {
            stale,
            ..Refused::default()
        };
        let first = account((&buffer).next_batch(version(2)).unwrap());
        let expected = Account {
            cursor: 4,
            trained: 3,
            refused: refused(1),
        };
        assert_eq!(first, expected);
        buffer.published(version(3));
        for task in 7..10 {
            buffer.arrive(pair(task, 3));
        }
        let second = account((&buffer).next_batch(version(3)).unwrap());
        let expected = Account {
            cursor: 8,
            trained: 6,
            refused: refused(2),
        };
        assert_eq!(second, expected);
    }

    #[test]
    fn a_deterministic_batch_is_its_whole_block_in_task_order() {
        let buffer = buffer(0, true);
        for outcome in [pair(2, 0), no_pair(1, 0), pair(0, 0)] {
            buffer.arrive(outcome);
        }
        assert_eq!(tasks(&(&buffer).next_batch(version(0)).unwrap()), [0, 2]);
    }

    #[test]
    fn a_block_without_a_pair_and_endless_ties_end_the_run() {
        let block = buffer(0, true);
        (0..3).for_each(|task| block.arrive(no_pair(task, 0)));
        let message = (&block).next_batch(version(0)).unwrap_err().to_string();
        assert!(
            message.contains("3 tasks ended with 0 pairs, 1 are needed (pairs 0, tie 3"),
            "{message}"
        );
        let endless = buffer(0, false);
        endless.arrive(pair(0, 0));
        (1..12).for_each(|task| endless.arrive(no_pair(task, 0)));
        let message = (&endless).next_batch(version(0)).unwrap_err().to_string();
        assert!(
            message.contains("12 tasks ended with 1 pairs, 3 are needed (pairs 1, tie 11"),
            "{message}"
        );
    }

    #[test]
    fn closing_wakes_the_waiting_thread() {
        let buffer = buffer(0, false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (&buffer).next_batch(version(0)));
            buffer.close();
            assert!(matches!(waiting.join().unwrap(), Err(LearnerError::Cancelled)));
        });
    }

    #[test]
    fn a_push_wakes_the_waiting_thread() {
        let buffer = buffer(0, false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (&buffer).next_batch(version(0)));
            (0..3).for_each(|task| buffer.arrive(pair(task, 0)));
            assert!(waiting.join().unwrap().is_ok());
        });
    }
}

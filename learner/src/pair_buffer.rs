//! Pairs between their arrival and their training, and where the run stands.
//!
//! The training thread blocks on `next_batch`; handlers push and never wait. Normally a batch is the next pairs in order of
//! arrival, those that grew too stale refused and counted; what is left when the run is complete is refused and counted too, and
//! what is left when a learner stops before that waits for its next start. A deterministic run instead takes all pairs of the
//! version's own block of tasks, in task order, once every task of the block has ended. Every batch knows its cursor: the records
//! before it are in the weights that come of it, or refused for good.

mod since;

use crate::account::{Account, Refusal, Refusals, Refused, RefusedPair};
use crate::error::LearnerError;
use crate::ledger::{Record, RefusalNote};
use crate::training_pair::{PairBatch, PairSource};
use common::{PolicyVersion, PreferencePair, RolloutOutcome};
use failpoint::Mutation;
use since::{Since, staleness};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

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

/// The buffer between the service and the training thread.
#[derive(Debug)]
pub(crate) struct PairBuffer {
    rule: BatchRule,
    state: Mutex<State>,
    changed: Condvar,
    /// The same for who may not block.
    told: Notify,
}

#[derive(Debug)]
struct State {
    progress: Progress,
    closed: bool,
    /// Pairs of the batch that is being trained.
    in_training: u64,
    fresh: VecDeque<Fresh>,
    /// What a deterministic run was given beyond the block that is collected: a rollback leaves several blocks behind.
    ahead: VecDeque<Record>,
    refusals: Refusals,
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
            in_training: 0,
            fresh: VecDeque::new(),
            ahead: VecDeque::new(),
            refusals: Refusals::default(),
            next: 0,
            since: Since::default(),
        };
        Self {
            rule,
            state: Mutex::new(state),
            changed: Condvar::new(),
            told: Notify::new(),
        }
    }

    /// Goes on from what an earlier start came to.
    pub(crate) fn restore(&self, account: Account) {
        let mut state = self.state();
        state.progress.trained = account.trained;
        state.refusals = Refusals::after(account.refused);
    }

    /// Takes in a terminal outcome. Records come in the order of their sequences.
    pub(crate) fn push(&self, record: Record) {
        let mut state = self.state();
        let block_is_full = self.rule.deterministic && state.since.tasks >= self.rule.pairs_per_version;
        if block_is_full && !state.refusals.is_complete() {
            state.ahead.push_back(record);
        } else {
            state.take_in(record);
        }
        drop(state);
        self.tell();
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

    /// Training is over. Once the run is `complete` the pairs that it did not come to are refused, and those that still come;
    /// otherwise they wait for the next start.
    pub(crate) fn end(&self, complete: bool) {
        let mut state = self.state();
        state.progress.training = false;
        if complete {
            state.run_ended();
            return;
        }
        let ahead = state.ahead.iter().filter(|record| record.outcome.is_pair());
        let left = state.in_training + (state.fresh.len() + ahead.count()) as u64;
        if left > 0 {
            tracing::info!(pairs = left, "pairs wait for the next start");
        }
    }

    /// The refusals that are settled since this was asked last.
    pub(crate) fn take_refusals(&self) -> Vec<RefusalNote> {
        self.state().refusals.take_notes()
    }

    /// Ends every wait; no batch is given any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.tell();
    }

    /// As [`next_batch`](PairSource::next_batch), for a task of the runtime.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn batch(&self, version: PolicyVersion) -> Result<PairBatch, LearnerError> {
        loop {
            let told = self.told.notified();
            if let Some(batch) = self.state().ready(&self.rule, version)? {
                return Ok(batch);
            }
            told.await;
        }
    }

    fn tell(&self) {
        self.changed.notify_all();
        // Its one waiter looks again even when it is just about to wait.
        self.told.notify_one();
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
            refused: state.refusals.all(),
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
            if let Some(batch) = state.ready(&self.rule, version)? {
                return Ok(batch);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// The batch, if it is there.
    fn ready(&mut self, rule: &BatchRule, version: PolicyVersion) -> Result<Option<PairBatch>, LearnerError> {
        match self.closed {
            true => Err(LearnerError::Cancelled),
            false => self.take_batch(rule, version),
        }
    }

    fn take_in(&mut self, record: Record) {
        let Record {
            sequence, outcome, ..
        } = record;
        self.next = sequence + 1;
        self.since.tasks += 1;
        self.since.counts.add(&outcome);
        match outcome {
            RolloutOutcome::Pair(_) if self.refusals.is_complete() => {
                self.refuse(sequence, Refusal::RunEnded)
            }
            RolloutOutcome::Pair(pair) => self.fresh.push_back(Fresh { sequence, pair }),
            RolloutOutcome::NoPair { group, .. } => {
                let scored = group.mean_reward().map(|reward| (group.task(), reward));
                self.since.rewards.extend(scored);
            }
            RolloutOutcome::Failed { .. } => {}
        }
    }

    /// The next block of those that were given ahead.
    fn next_block(&mut self, rule: &BatchRule) {
        while self.since.tasks < rule.pairs_per_version
            && let Some(record) = self.ahead.pop_front()
        {
            self.take_in(record);
        }
    }

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
        let cursor = match last {
            Some(last) if !rule.deterministic && !failpoint::breaks(Mutation::CursorBeforeWeights) => {
                last + 1
            }
            // The block is all there was.
            _ => self.next,
        };
        let account = Account {
            cursor,
            trained: self.progress.trained + count as u64,
            refused: self.refusals.settle(cursor, version.next()),
        };
        let mut pairs: Vec<_> = taken.into_iter().map(|fresh| fresh.pair).collect();
        if rule.deterministic {
            pairs.sort_by_key(PreferencePair::task);
        }
        self.progress.training = true;
        self.in_training = pairs.len() as u64;
        let since = std::mem::take(&mut self.since);
        self.next_block(rule);
        Ok(Some(since.into_batch(version, pairs, account)))
    }

    fn refuse_stale(&mut self, rule: &BatchRule, version: PolicyVersion) {
        let max_staleness = rule.max_staleness;
        self.fresh.retain(|Fresh { sequence, pair }| {
            let (sequence, lag) = (*sequence, staleness(version, pair));
            if lag > max_staleness {
                tracing::warn!(task = pair.task().0, lag, "pair refused: too stale");
                let refusal = Refusal::Stale { lag, max_staleness };
                self.refusals.refuse(RefusedPair {
                    sequence,
                    version,
                    refusal,
                });
            }
            lag <= max_staleness
        });
    }

    fn run_ended(&mut self) {
        let left = std::mem::take(&mut self.fresh)
            .into_iter()
            .map(|fresh| fresh.sequence);
        let ahead = std::mem::take(&mut self.ahead).into_iter();
        let ahead = ahead.filter(|record| record.outcome.is_pair());
        let left: Vec<u64> = left.chain(ahead.map(|record| record.sequence)).collect();
        if !left.is_empty() {
            tracing::info!(pairs = left.len(), "pairs refused: the run has ended");
        }
        self.refusals.complete();
        left.into_iter()
            .for_each(|sequence| self.refuse(sequence, Refusal::RunEnded));
    }

    fn refuse(&mut self, sequence: u64, refusal: Refusal) {
        self.refusals.refuse(RefusedPair {
            sequence,
            version: self.progress.version,
            refusal,
        });
    }
}

#[cfg(test)]
mod tests;

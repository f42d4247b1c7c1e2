//! The record of how tasks ended: the first terminal outcome of a task wins, in order of arrival.
//!
//! In memory today. Everything else asks it through the few functions below, so that a durable ledger can take its place:
//! an outcome is acknowledged only after `record` returned.

use common::{Digest, FailureReason, NoPairReason, RolloutOutcome, TaskId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What became of a terminal outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is the task's outcome.
    First,
    /// Another outcome of the task stands.
    Already {
        /// The digest of the one that stands.
        digest: Digest,
    },
}

/// How the tasks of a run ended, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutcomeCounts {
    /// Preference pairs.
    pub pairs: u64,
    /// Scored groups without a preference, by reason.
    pub no_pairs: BTreeMap<String, u64>,
    /// Failures, retried ones included, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Leases that ran out.
    pub expired: u64,
    /// Outcomes of tasks that already had one.
    pub duplicates: u64,
    /// Outcomes that were not accepted.
    pub refused: u64,
}

impl fmt::Display for OutcomeCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pairs {}", self.pairs)?;
        for (reason, count) in self.no_pairs.iter().chain(&self.failures) {
            write!(f, ", {reason} {count}")?;
        }
        write!(f, ", expired {}, refused {}", self.expired, self.refused)
    }
}

/// The record of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    terminal: BTreeMap<TaskId, Digest>,
    counts: OutcomeCounts,
}

impl Ledger {
    /// Records a terminal outcome. `deliver` is called for the first one of a task, in the order of arrival; it must be
    /// short.
    pub(crate) fn record(
        &self,
        outcome: RolloutOutcome,
        digest: Digest,
        deliver: impl FnOnce(RolloutOutcome),
    ) -> Recorded {
        let mut book = self.book();
        if let Some(&digest) = book.terminal.get(&outcome.task()) {
            book.counts.duplicates += 1;
            return Recorded::Already { digest };
        }
        book.terminal.insert(outcome.task(), digest);
        book.counts.add(&outcome);
        deliver(outcome);
        Recorded::First
    }

    /// The digest of the outcome that stands for a task; counts the question as a duplicate when there is one.
    pub(crate) fn duplicate_of(&self, task: TaskId) -> Option<Digest> {
        let mut book = self.book();
        let digest = book.terminal.get(&task).copied();
        book.counts.duplicates += u64::from(digest.is_some());
        digest
    }

    /// Whether a task has a terminal outcome.
    pub(crate) fn has(&self, task: TaskId) -> bool {
        self.book().terminal.contains_key(&task)
    }

    /// Counts a failure that leaves its task open.
    pub(crate) fn count_retry(&self, outcome: &RolloutOutcome) {
        self.book().counts.add(outcome);
    }

    /// Counts a lease that ran out.
    pub(crate) fn count_expired(&self) {
        self.book().counts.expired += 1;
    }

    /// Counts an outcome that was not accepted.
    pub(crate) fn count_refused(&self) {
        self.book().counts.refused += 1;
    }

    /// How tasks ended so far.
    pub(crate) fn counts(&self) -> OutcomeCounts {
        self.book().counts.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutcomeCounts {
    /// Counts one more end.
    pub(crate) fn add(&mut self, outcome: &RolloutOutcome) {
        match outcome {
            RolloutOutcome::Pair(_) => self.pairs += 1,
            RolloutOutcome::NoPair { reason, .. } => {
                *self.no_pairs.entry(no_pair_name(*reason).into()).or_default() += 1;
            }
            RolloutOutcome::Failed { reason, .. } => {
                *self.failures.entry(failure_name(*reason).into()).or_default() += 1;
            }
        }
    }
}

fn no_pair_name(reason: NoPairReason) -> &'static str {
    match reason {
        NoPairReason::Tie => "tie",
        NoPairReason::LowMargin => "low_margin",
        NoPairReason::InvalidImage => "invalid_image",
        NoPairReason::Guardrail => "guardrail",
        NoPairReason::Abstained => "abstained",
    }
}

fn failure_name(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Sampling => "sampling",
        FailureReason::Rendering => "rendering",
        FailureReason::RewardUnavailable => "reward_unavailable",
        FailureReason::Storage => "storage",
        FailureReason::Abandoned => "abandoned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{failed, no_pair, pair};

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn i2_the_first_terminal_outcome_wins_and_later_ones_are_told_its_digest() {
        let ledger = Ledger::default();
        let mut delivered = vec![];
        let mut record = |outcome, byte| ledger.record(outcome, digest(byte), |o| delivered.push(o.task().0));
        assert_eq!(record(pair(7, 0), 1), Recorded::First);
        assert_eq!(record(no_pair(7, 0), 2), Recorded::Already { digest: digest(1) });
        assert_eq!(record(no_pair(3, 0), 3), Recorded::First);
        assert_eq!(delivered, [7, 3]);
        assert_eq!(ledger.duplicate_of(TaskId(3)), Some(digest(3)));
        assert_eq!(ledger.duplicate_of(TaskId(4)), None);
        assert_eq!(ledger.counts().duplicates, 2);
    }

    #[test]
    fn every_end_is_counted_under_its_reason() {
        let ledger = Ledger::default();
        ledger.record(pair(0, 0), digest(0), drop);
        ledger.record(no_pair(1, 0), digest(0), drop);
        ledger.record(failed(2, false), digest(0), drop);
        ledger.count_retry(&failed(3, true));
        ledger.count_expired();
        ledger.count_refused();
        let text = ledger.counts().to_string();
        assert_eq!(text, "pairs 1, tie 1, reward_unavailable 2, expired 1, refused 1");
    }
}

//! What a ledger knows at once: which tasks have ended, how many ended how, and what waits for the writer. `ledger.rs` locks it.

use super::ended::EndedTasks;
use super::{IndexPart, Note, OutcomeCounts, Record, Recorded};
use common::{CandidateGroup, Digest, RolloutOutcome, TaskId};
use failpoint::Mutation;

/// The state of a ledger.
#[derive(Debug, Default)]
pub(super) struct Book {
    ended: EndedTasks,
    /// How tasks ended.
    pub(super) counts: OutcomeCounts,
    /// The sequence of the next record.
    pub(super) next: u64,
    /// Recorded, and not yet taken by the writer.
    pub(super) waiting: Vec<Record>,
    /// Noted, and not yet taken by the writer.
    pub(super) notes: Vec<Note>,
    /// How many notes there have been.
    pub(super) noted: u64,
    /// Pairs recorded, and not yet delivered.
    pub(super) undelivered: usize,
    /// Whether nothing more will be recorded.
    pub(super) closed: bool,
}

impl Book {
    /// Takes in a durable record of an earlier start.
    pub(super) fn restore(&mut self, record: &Record) {
        self.ended.insert(record.outcome.task(), record.digest);
        self.counts.add(&record.outcome);
        self.next = record.sequence + 1;
    }

    /// Takes in durable records of earlier starts in short.
    pub(super) fn restore_index(&mut self, part: IndexPart) {
        self.next = part.until();
        self.counts.add_all(&part.counts);
        for (task, outcome) in part.ends {
            self.ended.insert(task, outcome);
        }
    }

    /// Takes in a record as the next one, unless another outcome of its task stands.
    pub(super) fn enter(&mut self, record: Record) -> Recorded {
        let task = record.outcome.task();
        if let Some(digest) = self.duplicate_of(task) {
            return Recorded::Already { digest };
        }
        self.ended.insert(task, record.digest);
        self.count(&record.outcome);
        self.undelivered += usize::from(record.outcome.is_pair());
        let sequence = self.next;
        self.next += 1;
        self.waiting.push(Record { sequence, ..record });
        Recorded::First
    }

    fn count(&mut self, outcome: &RolloutOutcome) {
        let models = self.counts.reward_models.len();
        self.counts.add(outcome);
        let is_new = self.counts.reward_models.len() > models;
        let Some(model) = outcome.group().and_then(CandidateGroup::reward_model) else {
            return;
        };
        match models {
            _ if !is_new => {}
            0 => tracing::info!(%model, "the run's first scores"),
            _ => tracing::warn!(%model, models, "scores of another reward model than before"),
        }
    }

    /// The digest of the outcome that stands for a task; counts the question as a duplicate when there is one.
    pub(super) fn duplicate_of(&mut self, task: TaskId) -> Option<Digest> {
        let digest = self.recorded(task);
        self.counts.duplicates += u64::from(digest.is_some());
        digest
    }

    /// The digest of the outcome that stands for a task.
    pub(super) fn recorded(&self, task: TaskId) -> Option<Digest> {
        let found = self.ended.outcome_of(task);
        found.filter(|_| !failpoint::breaks(Mutation::NoDedupe))
    }

    /// The first task without a terminal outcome.
    pub(super) fn first_open(&self) -> TaskId {
        self.ended.first_open()
    }
}

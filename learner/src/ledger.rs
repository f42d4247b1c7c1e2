//! The record of how tasks ended: the first terminal outcome of a task wins, in order of arrival, and is acknowledged when it
//! is durable.
//!
//! What is recorded waits here until the writer (`ledger/writer.rs`) has made it durable; then it goes to training, and
//! whoever waits for its acknowledgement hears of it. At most as much waits as leases were open.

mod beginning;
mod book;
mod catalogue;
mod counts;
mod ended;
mod index;
mod note;
mod record;
mod restored;
mod view;
mod writer;

pub(crate) use beginning::Beginning;
pub(crate) use catalogue::{CatalogueDigests, cut_out};
pub use counts::OutcomeCounts;
pub(crate) use counts::{failure_name, no_pair_name};
use index::IndexPart;
pub(crate) use note::{EvaluationNote, ExpiryNote, Note, RefusalNote, StartNote, TrainingNote};
use record::Stored;
pub(crate) use record::{Identity, Record};
pub(crate) use restored::restore;
pub use view::{
    BarredLine, LedgerLine, LedgerLines, LedgerSummary, LedgerView, RefusedLine, Seeds, SidesLine,
};
pub(crate) use writer::keep;

use book::Book;
use common::{ActorId, Digest, LearnerEpoch, ProductTask, RolloutOutcome, TaskId};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

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

/// How deep a ledger is, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    /// All of the run.
    pub(crate) recorded: u64,
    /// Those that are not durable yet.
    pub(crate) waiting: u64,
}

/// The ledger can no longer make anything durable: nothing more is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger has failed: what was submitted may not be recorded")]
pub(crate) struct LedgerFailed;

/// The record of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    epoch: LearnerEpoch,
    book: Mutex<Book>,
    /// What the index does not hold yet.
    indexing: Mutex<IndexPart>,
    /// Told when something waits, and when nothing more will.
    arrived: Notify,
    durable: watch::Sender<Durable>,
}

#[derive(Debug, Clone, Copy)]
struct Durable {
    /// Every record of a lower sequence is durable.
    below: u64,
    /// So many notes are.
    noted: u64,
    failed: bool,
}

impl Ledger {
    /// The ledger of a learner's start `epoch`, empty.
    pub(crate) fn new(epoch: LearnerEpoch) -> Self {
        Self {
            epoch,
            book: Mutex::default(),
            indexing: Mutex::default(),
            arrived: Notify::new(),
            durable: watch::Sender::new(Durable {
                below: 0,
                noted: 0,
                failed: false,
            }),
        }
    }

    /// Which start of the run's learner it records for.
    pub(crate) fn epoch(&self) -> LearnerEpoch {
        self.epoch
    }

    /// Takes in a record of an earlier start, which is durable. Records come in the order of their sequences.
    pub(crate) fn restore(&self, record: &Record) {
        self.book().restore(record);
        self.durable
            .send_modify(|durable| durable.below = record.sequence + 1);
    }

    /// Records the terminal outcome of `task`, with who submitted it, if somebody did.
    pub(crate) fn record(
        &self,
        outcome: RolloutOutcome,
        task: ProductTask,
        actor: Option<&ActorId>,
    ) -> Recorded {
        let record = Record {
            // Its place is where it comes in.
            sequence: 0,
            epoch: self.epoch,
            digest: record::outcome_digest(&outcome),
            outcome,
            product: task.product,
            prompt: store::digest(task.instruction.as_bytes()),
            actor: actor.cloned(),
        };
        let recorded = self.book().enter(record);
        if recorded == Recorded::First {
            self.arrived.notify_one();
        }
        recorded
    }

    /// Notes something down.
    pub(crate) fn note(&self, note: impl Into<Note>) {
        self.note_all([note.into()]);
    }

    /// Notes several things down, which become durable together.
    pub(crate) fn note_all(&self, notes: impl IntoIterator<Item = Note>) {
        let mut book = self.book();
        let before = book.notes.len();
        book.notes.extend(notes);
        let noted = book.notes.len() - before;
        book.noted += noted as u64;
        drop(book);
        if noted > 0 {
            self.arrived.notify_one();
        }
    }

    /// What waits to be made durable, records or notes; `None` when nothing more will. For one caller at a time, which then
    /// calls [`delivered`](Self::delivered) or [`fail`](Self::fail).
    pub(crate) async fn arrivals(&self) -> Option<(Vec<Record>, Vec<Note>)> {
        loop {
            {
                let mut book = self.book();
                if !book.waiting.is_empty() || !book.notes.is_empty() {
                    return Some((std::mem::take(&mut book.waiting), std::mem::take(&mut book.notes)));
                }
                if book.closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// What waits now, for tests without a journal.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> Vec<Record> {
        std::mem::take(&mut self.book().waiting)
    }

    /// Every record up to `sequence` is durable and its pairs, so many, have been delivered.
    pub(crate) fn delivered(&self, sequence: u64, pairs: usize) {
        self.book().undelivered -= pairs;
        self.durable.send_modify(|durable| durable.below = sequence + 1);
    }

    /// So many more notes are durable.
    pub(crate) fn kept_notes(&self, notes: usize) {
        self.durable.send_modify(|durable| durable.noted += notes as u64);
    }

    /// Nothing more will be made durable.
    pub(crate) fn fail(&self) {
        self.durable.send_modify(|durable| durable.failed = true);
    }

    /// Nothing more will be recorded.
    pub(crate) fn close(&self) {
        self.book().closed = true;
        self.arrived.notify_one();
    }

    /// Waits until all that is recorded and noted now is durable.
    ///
    /// # Errors
    /// [`LedgerFailed`] when it will not be.
    pub(crate) async fn durable(&self) -> Result<(), LedgerFailed> {
        let (head, noted) = {
            let book = self.book();
            (book.next, book.noted)
        };
        let all = |durable: &Durable| durable.below >= head && durable.noted >= noted;
        let mut durable = self.durable.subscribe();
        match durable.wait_for(|durable| durable.failed || all(durable)).await {
            Ok(durable) if all(&durable) => Ok(()),
            _ => Err(LedgerFailed),
        }
    }

    /// The digest of the outcome that stands for a task; counts the question as a duplicate when there is one.
    pub(crate) fn duplicate_of(&self, task: TaskId) -> Option<Digest> {
        self.book().duplicate_of(task)
    }

    /// Whether a task has a terminal outcome.
    pub(crate) fn has(&self, task: TaskId) -> bool {
        self.book().recorded(task).is_some()
    }

    /// The first task without a terminal outcome.
    pub(crate) fn first_open(&self) -> TaskId {
        self.book().first_open()
    }

    /// How much has been recorded, and how much of that is not durable yet.
    pub(crate) fn depth(&self) -> Depth {
        let recorded = self.book().next;
        let waiting = recorded.saturating_sub(self.durable.borrow().below);
        Depth { recorded, waiting }
    }

    /// Records that are durable: the sequence that follows theirs.
    pub(crate) fn recorded(&self) -> u64 {
        self.durable.borrow().below
    }

    /// Pairs that are recorded and on their way to training.
    pub(crate) fn undelivered(&self) -> usize {
        self.book().undelivered
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{failed, no_pair, pair, task};
    use futures::FutureExt as _;
    use std::collections::BTreeMap;

    fn ledger() -> Ledger {
        Ledger::new(LearnerEpoch(1))
    }

    fn record(ledger: &Ledger, outcome: RolloutOutcome) -> Recorded {
        let task = task(outcome.task().0);
        ledger.record(outcome, task, None)
    }

    #[test]
    fn i2_the_first_terminal_outcome_wins_and_later_ones_are_told_its_digest() {
        let ledger = ledger();
        let first = pair(7, 0);
        let digest = record::outcome_digest(&first);
        assert_eq!(record(&ledger, first), Recorded::First);
        assert_eq!(record(&ledger, no_pair(7, 0)), Recorded::Already { digest });
        assert_eq!(record(&ledger, no_pair(3, 0)), Recorded::First);
        let waiting = ledger.waiting();
        let order: Vec<_> = waiting
            .iter()
            .map(|record| (record.sequence, record.outcome.task().0))
            .collect();
        assert_eq!(order, [(0, 7), (1, 3)]);
        assert_eq!(ledger.duplicate_of(TaskId(7)), Some(digest));
        assert_eq!(ledger.duplicate_of(TaskId(4)), None);
        assert_eq!(ledger.counts().duplicates, 2);
    }

    #[test]
    fn every_end_is_counted_under_its_reason() {
        let ledger = ledger();
        for outcome in [pair(0, 0), no_pair(1, 0), failed(2, false)] {
            record(&ledger, outcome);
        }
        ledger.count_retry(&failed(3, true));
        ledger.count_expired();
        ledger.count_refused();
        let text = ledger.counts().to_string();
        assert_eq!(text, "pairs 1, tie 1, reward_unavailable 2, expired 1, refused 1");
    }

    #[test]
    fn i1_nothing_is_acknowledged_before_it_is_durable_nor_after_the_ledger_failed() {
        let ledger = ledger();
        assert_eq!(ledger.durable().now_or_never(), Some(Ok(())));
        record(&ledger, pair(0, 0));
        record(&ledger, pair(1, 0));
        assert_eq!(ledger.durable().now_or_never(), None);
        assert_eq!(ledger.undelivered(), 2);
        ledger.delivered(0, 1);
        assert_eq!(ledger.durable().now_or_never(), None);
        ledger.delivered(1, 1);
        assert_eq!(
            (ledger.durable().now_or_never(), ledger.undelivered()),
            (Some(Ok(())), 0)
        );
        ledger.note(TrainingNote {
            version: crate::test_outcomes::version(1),
            step: 2,
            tasks: vec![],
            metrics: BTreeMap::new(),
        });
        assert_eq!(ledger.durable().now_or_never(), None);
        ledger.kept_notes(1);
        assert_eq!(ledger.durable().now_or_never(), Some(Ok(())));
        record(&ledger, pair(2, 0));
        ledger.fail();
        assert_eq!(ledger.durable().now_or_never(), Some(Err(LedgerFailed)));
    }

    #[test]
    fn a_later_start_goes_on_where_the_records_end() {
        let earlier = ledger();
        for outcome in [pair(0, 0), failed(1, false), no_pair(3, 0)] {
            record(&earlier, outcome);
        }
        let later = Ledger::new(LearnerEpoch(2));
        earlier.waiting().iter().for_each(|record| later.restore(record));
        assert_eq!(
            (later.counts(), later.first_open()),
            (earlier.counts(), TaskId(2))
        );
        assert_eq!(later.durable().now_or_never(), Some(Ok(())));
        record(&later, pair(2, 0));
        let waiting = later.waiting();
        assert_eq!((waiting[0].sequence, waiting[0].epoch), (3, LearnerEpoch(2)));
    }

    #[tokio::test]
    async fn what_waits_is_taken_together_and_a_closed_ledger_ends() {
        let ledger = ledger();
        record(&ledger, pair(0, 0));
        record(&ledger, pair(1, 0));
        assert_eq!(ledger.arrivals().await.unwrap().0.len(), 2);
        assert!(ledger.arrivals().now_or_never().is_none());
        ledger.close();
        assert_eq!(ledger.arrivals().await, None);
    }
}

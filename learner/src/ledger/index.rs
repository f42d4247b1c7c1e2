//! The ledger's index: consecutive records in short, so that a start reads at length only the records that its weights do not contain.
//!
//! It follows from the records, which stay as they are: whatever is missing of it costs a start time and nothing else.

use super::record::{Record, Stored, decode, key, keys_of};
use super::{Ledger, OutcomeCounts};
use bytes::Bytes;
use common::{Digest, TaskId};
use prost::Message as _;
use proto::{InvalidMessage, pb};
use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

/// Under which first byte of a key its parts are.
const INDEX: u8 = b'a';

/// Records of one part. What a start finds behind the last part it reads at length: some megabytes. Where faults are injected runs are short, and
/// are to have several parts.
pub(super) const RECORDS: usize = if failpoint::INJECTED { 16 } else { 1024 };

/// Bytes of a digest.
const DIGEST: usize = 32;

/// Consecutive records in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IndexPart {
    /// The sequence of its first record.
    pub(super) from: u64,
    /// The records' tasks and the digests of their outcomes, in the order of the records.
    pub(super) ends: Vec<(TaskId, Digest)>,
    /// How the tasks ended.
    pub(super) counts: OutcomeCounts,
}

impl Ledger {
    /// Takes in a part of the index that earlier starts have written, unless what it begins with is known: what of the index is to be stored
    /// now, of records that were read at length and lie before it.
    pub(super) fn restore_index(&self, part: IndexPart) -> Option<Stored> {
        let mut book = self.book();
        if part.from < book.next {
            return None;
        }
        let until = part.until();
        book.restore_index(part);
        drop(book);
        let before = std::mem::replace(&mut *self.indexing(), IndexPart::behind(until));
        self.durable.send_modify(|durable| durable.below = until);
        (!before.ends.is_empty()).then(|| before.stored())
    }

    /// Takes durable records into the index, in the order of their sequences: what of it is to be stored now.
    pub(crate) fn index(&self, records: &[Record]) -> Vec<Stored> {
        let mut indexing = self.indexing();
        let full = records.iter().filter_map(|record| indexing.add(record));
        full.map(|part| part.stored()).collect()
    }

    fn indexing(&self) -> MutexGuard<'_, IndexPart> {
        self.indexing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IndexPart {
    /// The keys of all parts.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(INDEX)
    }

    /// An empty one of records from a sequence on.
    pub(super) fn behind(from: u64) -> Self {
        Self {
            from,
            ..Self::default()
        }
    }

    /// The sequence that follows its last record.
    pub(super) fn until(&self) -> u64 {
        self.from + self.ends.len() as u64
    }

    /// Takes in the next record. The part that is full with it, if it is; then the next one begins here. Where a crash has lost one
    /// before it that nobody was told of, the part ends before the gap and the next one begins behind it: none has one.
    pub(super) fn add(&mut self, record: &Record) -> Option<Self> {
        let ended = (record.sequence != self.until())
            .then(|| std::mem::replace(self, Self::behind(record.sequence)))
            .filter(|part| !part.ends.is_empty());
        self.ends.push((record.outcome.task(), record.digest));
        self.counts.add(&record.outcome);
        let next = Self::behind(self.until());
        let full = (self.ends.len() == RECORDS).then(|| std::mem::replace(self, next));
        ended.or(full)
    }

    /// Its stored form.
    pub(super) fn stored(&self) -> Stored {
        let counts = self.counts.clone();
        let message = pb::LedgerIndex {
            from: self.from,
            tasks: self.ends.iter().map(|(task, _)| task.0).collect(),
            digests: self
                .ends
                .iter()
                .flat_map(|(_, digest)| *digest.as_bytes())
                .collect(),
            pairs: counts.pairs,
            no_pairs: counts.no_pairs,
            failures: counts.failures,
            reward_models: counts.reward_models,
            barred: counts.barred,
        };
        (key(INDEX, &[self.from]), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What does not fit together.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerIndex = decode("ledger_index", content)?;
        if message.tasks.is_empty() {
            return Err(InvalidMessage::missing("ledger_index.tasks"));
        }
        let (digests, rest) = message.digests.as_chunks::<DIGEST>();
        if digests.len() != message.tasks.len() || !rest.is_empty() {
            let (tasks, bytes) = (message.tasks.len(), message.digests.len());
            let fault = format!("{bytes} bytes for {tasks} tasks, expected {DIGEST} each");
            return Err(InvalidMessage::new("ledger_index.digests", fault));
        }
        let mut counts = message.no_pairs.values().chain(message.failures.values());
        let counted = counts.try_fold(message.pairs, |sum, count| sum.checked_add(*count));
        if counted != Some(message.tasks.len() as u64) {
            let fault = format!("with no_pairs and failures expected {}", message.tasks.len());
            return Err(InvalidMessage::new("ledger_index.pairs", fault));
        }
        if message.from.checked_add(message.tasks.len() as u64).is_none() {
            return Err(InvalidMessage::new("ledger_index.from", "no sequence is so high"));
        }
        let digests = digests.iter().map(|&digest| Digest::from_bytes(digest));
        Ok(Self {
            from: message.from,
            ends: message.tasks.into_iter().map(TaskId).zip(digests).collect(),
            counts: OutcomeCounts {
                pairs: message.pairs,
                no_pairs: message.no_pairs,
                failures: message.failures,
                reward_models: message.reward_models,
                barred: message.barred,
                ..OutcomeCounts::default()
            },
        })
    }
}

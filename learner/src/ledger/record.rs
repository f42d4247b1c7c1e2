//! A record of the ledger and its stored form.

use bytes::Bytes;
use common::{ActorId, Digest, LearnerEpoch, ProductId, RolloutOutcome, RunId};
use prost::Message as _;
use proto::{InvalidMessage, pb, required};
use std::ops::Range;

/// Under which first byte of a key identity and records are; `note.rs` has those of notes.
pub(super) const IDENTITY: u8 = b'i';
const OUTCOME: u8 = b'o';

/// The terminal outcome of one task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Its place in the order of arrival, from 0.
    pub(crate) sequence: u64,
    /// The learner's start that recorded it.
    pub(crate) epoch: LearnerEpoch,
    /// Of the outcome: what a later outcome of the task is answered.
    pub(crate) digest: Digest,
    /// How the task ended.
    pub(crate) outcome: RolloutOutcome,
    /// What it was about.
    pub(crate) product: ProductId,
    /// Of the instruction put to the policy.
    pub(crate) prompt: Digest,
    /// Who submitted it; `None` when nobody did, or that was not recorded.
    pub(crate) actor: Option<ActorId>,
}

/// Which run a ledger belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The run.
    pub(crate) run: RunId,
    /// Its seed.
    pub(crate) run_seed: u64,
}

/// A record as the journal keeps it: key and content.
pub(crate) type Stored = (Bytes, Bytes);

/// The digest of an outcome: that of its message.
pub(crate) fn outcome_digest(outcome: &RolloutOutcome) -> Digest {
    store::digest(&pb::RolloutOutcome::from(outcome).encode_to_vec())
}

impl Record {
    /// The keys of all records.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(OUTCOME)
    }

    /// The keys of the records from a sequence on.
    pub(crate) fn keys_from(sequence: u64) -> Range<Bytes> {
        key(OUTCOME, &[sequence])..Self::keys().end
    }

    /// The keys of the records from a sequence on and before another one.
    pub(crate) fn keys_between(from: u64, until: u64) -> Range<Bytes> {
        key(OUTCOME, &[from])..key(OUTCOME, &[until.max(from)])
    }

    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        let message = pb::LedgerRecord {
            sequence: self.sequence,
            epoch: self.epoch.0,
            digest: Some(self.digest.into()),
            outcome: Some((&self.outcome).into()),
            product: self.product.to_string(),
            prompt: Some(self.prompt.into()),
            actor: self.actor.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        (key(OUTCOME, &[self.sequence]), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What is missing or out of range.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerRecord = decode("ledger_record", content)?;
        let outcome = required("ledger_record.outcome", message.outcome)?;
        Ok(Self {
            sequence: message.sequence,
            epoch: LearnerEpoch(message.epoch),
            digest: required("ledger_record.digest", message.digest)?.try_into()?,
            outcome: outcome.try_into()?,
            product: ProductId::new(message.product)
                .map_err(|e| InvalidMessage::new("ledger_record.product", e))?,
            prompt: required("ledger_record.prompt", message.prompt)?.try_into()?,
            actor: match message.actor.as_str() {
                "" => None,
                actor => {
                    Some(ActorId::new(actor).map_err(|e| InvalidMessage::new("ledger_record.actor", e))?)
                }
            },
        })
    }
}

impl Identity {
    /// The key of a run's ledger in its store.
    pub(crate) fn ledger_of(run: &RunId) -> String {
        format!("runs/{run}/ledger")
    }

    /// Its key.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(IDENTITY)
    }

    /// Reads it from the stored form of what its run was [begun with](super::Beginning).
    ///
    /// # Errors
    /// What is missing or out of range.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerIdentity = decode("ledger_identity", content)?;
        Ok(Self {
            run: RunId::new(message.run_id).map_err(|e| InvalidMessage::new("ledger_identity.run_id", e))?,
            run_seed: message.run_seed,
        })
    }
}

/// The keys of a kind.
pub(super) fn keys_of(kind: u8) -> Range<Bytes> {
    key(kind, &[])..key(kind + 1, &[])
}

/// A kind and numbers, so that keys are in the order of the numbers.
pub(super) fn key(kind: u8, numbers: &[u64]) -> Bytes {
    let mut key = vec![kind];
    numbers.iter().for_each(|number| key.extend(number.to_be_bytes()));
    key.into()
}

pub(super) fn decode<M: prost::Message + Default>(
    what: &'static str,
    content: &[u8],
) -> Result<M, InvalidMessage> {
    M::decode(content).map_err(|e| InvalidMessage::new(what, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{failed, no_pair, pair};

    #[test]
    fn what_is_stored_is_read_back_and_keys_follow_the_numbers() {
        let mut before = Record::keys().start;
        let by = |actor| Some(ActorId::new(actor).unwrap());
        for (sequence, outcome, actor) in [
            (0, pair(3, 1), by("actor-1")),
            (255, no_pair(4, 0), by("b")),
            (256, failed(5, false), None),
        ] {
            let record = Record {
                sequence,
                epoch: LearnerEpoch(2),
                digest: outcome_digest(&outcome),
                outcome,
                product: ProductId::new("mug-7").unwrap(),
                prompt: store::digest(b"show a mug"),
                actor,
            };
            let (key, content) = record.stored();
            assert_eq!(Record::read(&content).unwrap(), record);
            assert!(before < key && Record::keys().contains(&key));
            before = key;
        }
        let later = |sequence| Record::keys_from(sequence).contains(&before);
        assert!(later(255) && later(256) && !later(257));
    }

    #[test]
    fn damaged_records_are_refused_by_field() {
        let read =
            |message: pb::LedgerRecord| Record::read(&message.encode_to_vec()).unwrap_err().to_string();
        assert!(read(pb::LedgerRecord::default()).contains("ledger_record.outcome"));
        assert!(Record::read(&[0xff; 9]).is_err() && Identity::read(&[]).is_err());
    }
}

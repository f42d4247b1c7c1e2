//! A record of the ledger and its stored form.

use crate::lineage::Lineage;
use bytes::Bytes;
use common::{ActorId, Digest, LearnerEpoch, PolicyVersion, ProductId, RolloutOutcome, RunId, TaskId};
use prost::Message as _;
use proto::{InvalidMessage, pb};
use std::collections::BTreeMap;
use std::ops::Range;

/// Under which first byte of a key the kinds of records are; `note.rs` has another one.
const IDENTITY: u8 = b'i';
const OUTCOME: u8 = b'o';
const TRAINING: u8 = b't';
const EXPIRY: u8 = b'x';
const START: u8 = b's';

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

/// Which pairs a version was trained from, and what that measured; a note that decides nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainingNote {
    /// The version that came of it.
    pub(crate) version: PolicyVersion,
    /// Optimizer steps of the run until then.
    pub(crate) step: u64,
    /// Their tasks.
    pub(crate) tasks: Vec<TaskId>,
    /// What its training measured, by name.
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// The newest start of the learner and the checkpoints that it and those before it went on from; a note that decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartNote {
    /// Which start.
    pub(crate) epoch: LearnerEpoch,
    /// What its weights have come through.
    pub(crate) lineage: Lineage,
}

/// Which records' images may be gone, because they are old and nothing needs them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ExpiryNote {
    /// The first record whose images this note lets go; those before it have gone.
    pub(crate) from: u64,
    /// The first record whose images stay.
    pub(crate) before: u64,
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
        let outcome = message
            .outcome
            .ok_or_else(|| InvalidMessage::missing("ledger_record.outcome"))?;
        Ok(Self {
            sequence: message.sequence,
            epoch: LearnerEpoch(message.epoch),
            digest: digest("ledger_record.digest", message.digest)?,
            outcome: outcome.try_into()?,
            product: ProductId::new(message.product)
                .map_err(|e| InvalidMessage::new("ledger_record.product", e))?,
            prompt: digest("ledger_record.prompt", message.prompt)?,
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

    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        let message = pb::LedgerIdentity {
            run_id: self.run.to_string(),
            run_seed: self.run_seed,
        };
        (key(IDENTITY, &[]), message.encode_to_vec().into())
    }

    /// Reads its stored form.
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

impl TrainingNote {
    /// The keys of all notes.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(TRAINING)
    }

    /// The keys of the notes of an epoch's versions from a number on and before another one.
    pub(crate) fn keys_between(epoch: LearnerEpoch, from: u64, until: u64) -> Range<Bytes> {
        key(TRAINING, &[epoch.0, from])..key(TRAINING, &[epoch.0, until.max(from)])
    }

    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        let message = pb::LedgerTraining {
            version: Some(self.version.into()),
            step: self.step,
            tasks: self.tasks.iter().map(|task| task.0).collect(),
            metrics: self.metrics.clone(),
        };
        let place = [self.version.epoch.0, self.version.number];
        (key(TRAINING, &place), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What is missing or out of range.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerTraining = decode("ledger_training", content)?;
        let version = message
            .version
            .ok_or_else(|| InvalidMessage::missing("ledger_training.version"))?;
        Ok(Self {
            version: version.try_into()?,
            step: message.step,
            tasks: message.tasks.into_iter().map(TaskId).collect(),
            metrics: message.metrics,
        })
    }
}

impl StartNote {
    /// Its key: there is one, which the next start replaces.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(START)
    }

    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        let message = pb::LedgerStart {
            epoch: self.epoch.0,
            lineage: self.lineage.checkpoints().iter().map(|&v| v.into()).collect(),
        };
        (key(START, &[]), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What is out of range.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerStart = decode("ledger_start", content)?;
        let lineage = message.lineage.into_iter().map(TryInto::try_into);
        Ok(Self {
            epoch: LearnerEpoch(message.epoch),
            lineage: lineage.collect::<Result<Vec<PolicyVersion>, _>>()?.into(),
        })
    }

    /// Whether the weights of this start have come through `version`, or it is one of its own.
    pub(crate) fn holds(&self, version: PolicyVersion) -> bool {
        version.epoch == self.epoch || self.lineage.has_checkpoint(version)
    }
}

impl ExpiryNote {
    /// Its key: there is one, which the next replaces.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(EXPIRY)
    }

    /// Its stored form.
    pub(crate) fn stored(self) -> Stored {
        let Self { from, before } = self;
        let message = pb::LedgerExpiry { from, before };
        (key(EXPIRY, &[]), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What is out of range.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let pb::LedgerExpiry { from, before } = decode("ledger_expiry", content)?;
        match from <= before {
            true => Ok(Self { from, before }),
            false => Err(InvalidMessage::new(
                "ledger_expiry.from",
                format!("{from} lies behind {before}"),
            )),
        }
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

fn digest(field: &'static str, digest: Option<pb::Digest>) -> Result<Digest, InvalidMessage> {
    digest.ok_or_else(|| InvalidMessage::missing(field))?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{failed, no_pair, pair, version};

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
        let identity = Identity {
            run: RunId::new("spring").unwrap(),
            run_seed: u64::MAX,
        };
        assert_eq!(Identity::read(&identity.stored().1).unwrap(), identity);
        let training = TrainingNote {
            version: version(3),
            step: 24,
            tasks: vec![TaskId(1), TaskId(0)],
            metrics: [("loss".into(), 0.5), ("kl".into(), -0.0)].into(),
        };
        let (at, _) = training.stored();
        let between = |from, until| TrainingNote::keys_between(version(3).epoch, from, until).contains(&at);
        assert!(between(3, 4) && between(0, 9) && !between(4, 9) && !between(0, 3));
        assert_eq!(TrainingNote::read(&training.stored().1).unwrap(), training);
        let expiry = ExpiryNote { from: 2, before: 256 };
        assert_eq!(ExpiryNote::read(&expiry.stored().1).unwrap(), expiry);
        assert!(ExpiryNote::read(&ExpiryNote { from: 3, before: 2 }.stored().1).is_err());
        let later = |sequence| Record::keys_from(sequence).contains(&before);
        assert!(later(255) && later(256) && !later(257));
    }

    #[test]
    fn damaged_records_are_refused_by_field() {
        let read =
            |message: pb::LedgerRecord| Record::read(&message.encode_to_vec()).unwrap_err().to_string();
        assert!(read(pb::LedgerRecord::default()).contains("ledger_record.outcome"));
        assert!(
            Record::read(&[0xff; 9]).is_err()
                && Identity::read(&[]).is_err()
                && TrainingNote::read(&[]).is_err()
        );
    }
}

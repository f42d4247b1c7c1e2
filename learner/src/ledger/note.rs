//! What the ledger notes down beside outcomes, for people: nothing is decided by a note, but for what completes the run's beginning.

mod refusal;

pub(crate) use refusal::RefusalNote;

use super::Beginning;
use super::record::{Stored, decode, key, keys_of};
use crate::lineage::Lineage;
use bytes::Bytes;
use common::{LearnerEpoch, PolicyVersion, TaskId};
use prost::Message as _;
use proto::{InvalidMessage, pb, required};
use std::collections::BTreeMap;
use std::ops::Range;

/// Under which first byte of a key the kinds of notes are.
const TRAINING: u8 = b't';
const EVALUATION: u8 = b'e';
const START: u8 = b's';
const EXPIRY: u8 = b'x';
const REFUSAL: u8 = b'r';

/// A note that a run makes as it goes on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// What a version was trained from.
    Training(TrainingNote),
    /// What it does on held-out products, or on the run's own where none are held out.
    Evaluation(EvaluationNote),
    /// Of a pair that none is trained from.
    Refusal(RefusalNote),
    /// What the run was begun with, as far as that is known by now.
    Beginning(Box<Beginning>),
}

/// What a version does on held-out products, or on the run's own where none are held out; a later one of the same version replaces it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EvaluationNote {
    /// The version.
    pub(crate) version: PolicyVersion,
    /// What was measured, by name.
    pub(crate) values: BTreeMap<String, f64>,
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

impl Note {
    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        match self {
            Self::Training(note) => note.stored(),
            Self::Evaluation(note) => note.stored(),
            Self::Refusal(note) => note.stored(),
            Self::Beginning(begun) => begun.stored(),
        }
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
        Ok(Self {
            version: required("ledger_training.version", message.version)?.try_into()?,
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

    /// Whether `version` is retired: what it sampled is of weights that this start's have not come through.
    pub(crate) fn has_retired(&self, version: PolicyVersion) -> bool {
        version.epoch != self.epoch && !self.lineage.holds(version)
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

impl EvaluationNote {
    /// The keys of all of them.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(EVALUATION)
    }

    fn stored(&self) -> Stored {
        let message = pb::LedgerEvaluation {
            version: Some(self.version.into()),
            values: self.values.clone(),
        };
        let place = [self.version.epoch.0, self.version.number];
        (key(EVALUATION, &place), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What is missing or out of range.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerEvaluation = decode("ledger_evaluation", content)?;
        Ok(Self {
            version: required("ledger_evaluation.version", message.version)?.try_into()?,
            values: message.values,
        })
    }
}

impl From<TrainingNote> for Note {
    fn from(note: TrainingNote) -> Self {
        Self::Training(note)
    }
}

impl From<Beginning> for Note {
    fn from(begun: Beginning) -> Self {
        Self::Beginning(Box::new(begun))
    }
}

impl From<RefusalNote> for Note {
    fn from(note: RefusalNote) -> Self {
        Self::Refusal(note)
    }
}

impl From<EvaluationNote> for Note {
    fn from(note: EvaluationNote) -> Self {
        Self::Evaluation(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::version;

    #[test]
    fn an_evaluation_is_read_back_under_its_own_keys() {
        let note = EvaluationNote {
            version: version(3),
            values: [("reward".into(), 0.25)].into(),
        };
        let (key, content) = note.stored();
        assert!(EvaluationNote::keys().contains(&key) && !TrainingNote::keys().contains(&key));
        assert_eq!(EvaluationNote::read(&content).unwrap(), note);
        assert!(EvaluationNote::read(&[]).is_err());
    }

    #[test]
    fn other_notes_are_read_back_and_keys_follow_the_versions() {
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
        assert!(TrainingNote::read(&[]).is_err());
    }
}

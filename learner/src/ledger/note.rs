//! What the ledger notes down beside outcomes, for people: nothing is decided by a note.

use super::TrainingNote;
use super::record::{Stored, decode, key, keys_of};
use bytes::Bytes;
use common::PolicyVersion;
use prost::Message as _;
use proto::{InvalidMessage, pb};
use std::collections::BTreeMap;
use std::ops::Range;

/// Under which first byte of a key evaluations are.
const EVALUATION: u8 = b'e';

/// A note that a run makes as it goes on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// What a version was trained from.
    Training(TrainingNote),
    /// What it does on held-out products.
    Evaluation(EvaluationNote),
}

/// What a version does on held-out products; a later one of the same version replaces it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EvaluationNote {
    /// The version.
    pub(crate) version: PolicyVersion,
    /// What was measured, by name.
    pub(crate) values: BTreeMap<String, f64>,
}

impl Note {
    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        match self {
            Self::Training(note) => note.stored(),
            Self::Evaluation(note) => note.stored(),
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
        let version = message
            .version
            .ok_or_else(|| InvalidMessage::missing("ledger_evaluation.version"))?;
        Ok(Self {
            version: version.try_into()?,
            values: message.values,
        })
    }
}

impl From<TrainingNote> for Note {
    fn from(note: TrainingNote) -> Self {
        Self::Training(note)
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
}

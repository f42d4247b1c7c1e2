//! The note of a pair that no version is trained from. The cursor of a checkpoint decides what becomes of pairs; this tells people
//! what it was, and why.

use super::{REFUSAL, StartNote};
use crate::account::{Refusal, RefusedPair};
use crate::ledger::record::{Stored, decode, key, keys_of};
use bytes::Bytes;
use common::PolicyVersion;
use prost::Message as _;
use proto::{InvalidMessage, pb, required};
use std::fmt;
use std::ops::Range;

/// A pair is refused for good, as far as the weights go on from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefusalNote {
    /// The pair, when it was refused and why.
    pub(crate) pair: RefusedPair,
    /// The version whose batch left it behind; `None` when the run was complete before one did.
    pub(crate) settled_by: Option<PolicyVersion>,
}

impl RefusalNote {
    /// The keys of all of them.
    pub(crate) fn keys() -> Range<Bytes> {
        keys_of(REFUSAL)
    }

    /// The keys of the notes of one record's pair: one for each start that has settled it.
    pub(crate) fn keys_of_record(sequence: u64) -> Range<Bytes> {
        key(REFUSAL, &[sequence])..key(REFUSAL, &[sequence.saturating_add(1)])
    }

    /// Whether it is true of the weights of `start`. Weights that have not come through the version that left the pair behind may
    /// have been trained on it, or will be; so may those of a complete run that another start has taken since.
    pub(crate) fn stands(&self, start: &StartNote) -> bool {
        match self.settled_by {
            Some(version) => start.holds(version),
            None => self.pair.version.epoch == start.epoch,
        }
    }

    /// Its stored form.
    pub(crate) fn stored(&self) -> Stored {
        let RefusedPair {
            sequence,
            version,
            refusal,
        } = self.pair;
        let (reason, lag, max_staleness) = match refusal {
            Refusal::Stale { lag, max_staleness } => (pb::LedgerRefusalReason::Stale, lag, max_staleness),
            Refusal::Retired => (pb::LedgerRefusalReason::Retired, 0, 0),
            Refusal::RunEnded => (pb::LedgerRefusalReason::RunEnded, 0, 0),
        };
        let message = pb::LedgerRefusal {
            sequence,
            reason: reason.into(),
            version: Some(version.into()),
            lag,
            max_staleness,
            settled_by: self.settled_by.map(Into::into),
        };
        let place = [sequence, version.epoch.0];
        (key(REFUSAL, &place), message.encode_to_vec().into())
    }

    /// Reads its stored form.
    ///
    /// # Errors
    /// What is missing or out of range.
    pub(crate) fn read(content: &[u8]) -> Result<Self, InvalidMessage> {
        let message: pb::LedgerRefusal = decode("ledger_refusal", content)?;
        let refusal = match message.reason() {
            pb::LedgerRefusalReason::Stale => Refusal::Stale {
                lag: message.lag,
                max_staleness: message.max_staleness,
            },
            pb::LedgerRefusalReason::Retired => Refusal::Retired,
            pb::LedgerRefusalReason::RunEnded => Refusal::RunEnded,
            pb::LedgerRefusalReason::Unspecified => {
                let expected = format!("{}: expected stale, retired or run_ended", message.reason);
                return Err(InvalidMessage::new("ledger_refusal.reason", expected));
            }
        };
        Ok(Self {
            pair: RefusedPair {
                sequence: message.sequence,
                version: required("ledger_refusal.version", message.version)?.try_into()?,
                refusal,
            },
            settled_by: message.settled_by.map(TryInto::try_into).transpose()?,
        })
    }
}

impl fmt::Display for RefusalNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.pair.version;
        match self.pair.refusal {
            Refusal::Stale { lag, max_staleness } => {
                write!(
                    f,
                    "stale: {lag} versions behind {version}, at most {max_staleness} are allowed"
                )
            }
            Refusal::Retired => write!(
                f,
                "retired: the version that sampled it was no part of the run any more at {version}"
            ),
            Refusal::RunEnded => write!(f, "left over when the run was complete with {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::Lineage;
    use crate::test_outcomes::version;
    use common::LearnerEpoch;

    fn note(refusal: Refusal, settled_by: Option<PolicyVersion>) -> RefusalNote {
        let (sequence, version) = (7, version(3));
        RefusalNote {
            pair: RefusedPair {
                sequence,
                version,
                refusal,
            },
            settled_by,
        }
    }

    #[test]
    fn i3_a_refusal_is_read_back_with_its_reason_under_the_keys_of_its_record() {
        let stale = Refusal::Stale {
            lag: 3,
            max_staleness: 2,
        };
        for (refusal, settled_by) in [
            (stale, Some(version(4))),
            (Refusal::Retired, Some(version(5))),
            (Refusal::RunEnded, None),
        ] {
            let note = note(refusal, settled_by);
            let (key, content) = note.stored();
            assert_eq!(RefusalNote::read(&content).unwrap(), note);
            assert!(RefusalNote::keys().contains(&key) && RefusalNote::keys_of_record(7).contains(&key));
            assert!(!RefusalNote::keys_of_record(6).contains(&key) && !StartNote::keys().contains(&key));
        }
        let unknown = pb::LedgerRefusal {
            reason: 9,
            version: Some(version(3).into()),
            ..pb::LedgerRefusal::default()
        };
        let refusal = RefusalNote::read(&unknown.encode_to_vec())
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("ledger_refusal.reason") && refusal.contains('9'),
            "{refusal}"
        );
    }

    #[test]
    fn i3_a_refusal_stands_while_the_weights_have_come_through_what_left_its_pair_behind() {
        let start = |epoch, from: &[PolicyVersion]| StartNote {
            epoch: LearnerEpoch(epoch),
            lineage: Lineage::from(from.to_vec()),
        };
        let settled = note(Refusal::Retired, Some(version(4)));
        assert!(settled.stands(&start(1, &[])), "its own start");
        assert!(settled.stands(&start(2, &[version(5)])), "a later one behind it");
        assert!(!settled.stands(&start(2, &[version(3)])), "one from before it");
        let left_over = note(Refusal::RunEnded, None);
        assert!(left_over.stands(&start(1, &[])));
        assert!(
            !left_over.stands(&start(2, &[version(3)])),
            "it may be trained on yet"
        );
    }
}

//! The end of a run as it stands in the run's store, for those whom no learner tells any more: it ends with its run.
//!
//! Each epoch that takes the run says so ([`taken_key`]) before it looks at what earlier ones have left, and the one that has completed it
//! records the end ([`complete_key`]). Both are written once, and only what the highest epoch has left counts ([`standing_end`]). So an
//! end stands until somebody takes the run up again, and a learner that was superseded can no longer end it.

use crate::{Digest, LearnerEpoch, PolicyVersion, RunId};
use serde::{Deserialize, Serialize};

/// How the names of what an epoch leaves begin and end; its number stands in between.
const TAKEN: (&str, &str) = ("epoch-", ".json");
const COMPLETE: (&str, &str) = ("complete-", ".json");

/// The record of a run's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEnd {
    format: u32,
    /// The run.
    pub run: RunId,
    /// The run's last version, as the epoch that completed the run offers it.
    pub version: PolicyVersion,
    /// Of the bytes of its adapter.
    pub adapter: Digest,
    /// Optimizer steps taken.
    pub steps: u64,
    /// When, in seconds since 1970, by the learner's clock: for people, nothing is decided by it.
    pub completed_at_s: u64,
}

/// That an epoch has taken a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunTaken {
    format: u32,
    /// The run.
    pub run: RunId,
    /// Who has taken it.
    pub epoch: LearnerEpoch,
}

/// What keeps a record from being that of the end that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherEnd {
    /// It is another run's.
    #[error("it is the end of run {found}, expected {expected}")]
    OfRun {
        /// Whose it is.
        found: RunId,
        /// Whose it was to be.
        expected: RunId,
    },
    /// It is another epoch's than its name says.
    #[error("it is of {found}, its name says {expected}")]
    OfEpoch {
        /// Whose it is.
        found: LearnerEpoch,
        /// Whose it was to be.
        expected: LearnerEpoch,
    },
}

impl RunEnd {
    /// The form that is written today, and the only one that is read.
    pub const FORMAT: u32 = 1;

    /// The end of `run` with its last version.
    pub fn new(run: RunId, version: PolicyVersion, adapter: Digest, steps: u64, completed_at_s: u64) -> Self {
        Self {
            format: Self::FORMAT,
            run,
            version,
            adapter,
            steps,
            completed_at_s,
        }
    }

    /// Refuses what is not the end of `run` by `epoch`.
    ///
    /// # Errors
    /// [`OtherEnd`].
    pub fn of(self, run: &RunId, epoch: LearnerEpoch) -> Result<Self, OtherEnd> {
        if self.run != *run {
            let (found, expected) = (self.run, run.clone());
            return Err(OtherEnd::OfRun { found, expected });
        }
        if self.version.epoch != epoch {
            let (found, expected) = (self.version.epoch, epoch);
            return Err(OtherEnd::OfEpoch { found, expected });
        }
        Ok(self)
    }
}

impl RunTaken {
    /// `epoch` has taken `run`.
    pub fn new(run: RunId, epoch: LearnerEpoch) -> Self {
        let format = RunEnd::FORMAT;
        Self { format, run, epoch }
    }
}

/// Below which the run's end is found.
pub fn end_prefix(run: &RunId) -> String {
    format!("runs/{run}/end")
}

/// The key that says that `epoch` has taken the run.
pub fn taken_key(run: &RunId, epoch: LearnerEpoch) -> String {
    key(run, TAKEN, epoch)
}

/// The key of the run's end as `epoch` records it.
pub fn complete_key(run: &RunId, epoch: LearnerEpoch) -> String {
    key(run, COMPLETE, epoch)
}

/// The epoch that left something under this key; `None` where none did.
pub fn left_by(key: &str) -> Option<LearnerEpoch> {
    epoch_in(key, TAKEN).or_else(|| epoch_in(key, COMPLETE))
}

/// The epoch whose end of the run stands, by the keys that are there: the highest of all, if it has recorded one.
pub fn standing_end<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<LearnerEpoch> {
    let left = |key: &str| Some((left_by(key)?, epoch_in(key, COMPLETE).is_some()));
    // Of one epoch, its end is behind its beginning.
    let (newest, complete) = keys.into_iter().filter_map(left).max()?;
    complete.then_some(newest)
}

fn key(run: &RunId, (begin, end): (&str, &str), epoch: LearnerEpoch) -> String {
    format!("{}/{begin}{}{end}", end_prefix(run), epoch.0)
}

fn epoch_in(key: &str, (begin, end): (&str, &str)) -> Option<LearnerEpoch> {
    let name = key.rsplit('/').next()?.strip_prefix(begin)?.strip_suffix(end)?;
    name.parse().ok().map(LearnerEpoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> RunId {
        RunId::new(name).unwrap()
    }

    fn end(name: &str, epoch: u64) -> RunEnd {
        let version = PolicyVersion {
            epoch: LearnerEpoch(epoch),
            number: 12,
        };
        RunEnd::new(run(name), version, Digest::from_bytes([7; 32]), 24, 1)
    }

    #[test]
    fn i11_an_end_stands_until_a_later_epoch_takes_the_run_whatever_earlier_ones_leave_then() {
        let spring = run("spring");
        let taken = |epoch| taken_key(&spring, LearnerEpoch(epoch));
        let complete = |epoch| complete_key(&spring, LearnerEpoch(epoch));
        let stands = |keys: &[String]| standing_end(keys.iter().map(String::as_str)).map(|epoch| epoch.0);
        assert_eq!(stands(&[]), None);
        assert_eq!(stands(&[taken(1)]), None);
        assert_eq!(stands(&[taken(9), complete(9)]), Some(9));
        // By number, not by name.
        assert_eq!(stands(&[taken(9), complete(9), taken(10)]), None);
        // The superseded learner is late.
        assert_eq!(stands(&[taken(10), complete(9)]), None);
        assert_eq!(stands(&[taken(10), complete(9), complete(10)]), Some(10));
        // What says of itself that it was taken may have been cleared away.
        assert_eq!(stands(&[complete(3)]), Some(3));
        let others = ["runs/spring/end/complete-x.json", "runs/spring/end/note", ""];
        assert_eq!(standing_end(others), None);
    }

    #[test]
    fn the_end_of_another_run_or_another_epoch_is_refused_with_both_names() {
        assert_eq!(
            end("spring", 2).of(&run("spring"), LearnerEpoch(2)),
            Ok(end("spring", 2))
        );
        let other = end("autumn", 2).of(&run("spring"), LearnerEpoch(2)).unwrap_err();
        assert_eq!(other.to_string(), "it is the end of run autumn, expected spring");
        let other = end("spring", 1).of(&run("spring"), LearnerEpoch(2)).unwrap_err();
        assert_eq!(other.to_string(), "it is of epoch 1, its name says epoch 2");
    }
}

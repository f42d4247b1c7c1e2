//! The counter of published weights.

use crate::LearnerEpoch;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One set of published policy weights: `(epoch, number)`, ordered as a pair and never reused. Number 0 is the initial
/// policy of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// The learner epoch that published it.
    pub epoch: LearnerEpoch,
    /// How many versions the run's lineage had published before it.
    pub number: u64,
}

impl PolicyVersion {
    /// The initial policy as `epoch` publishes it.
    pub fn initial(epoch: LearnerEpoch) -> Self {
        Self { epoch, number: 0 }
    }

    /// The version that follows this one within its epoch.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }

    /// How many versions `older` lies behind `self`; 0 when it is not older.
    pub fn staleness_of(self, older: PolicyVersion) -> u64 {
        self.number.saturating_sub(older.number)
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.epoch.0, self.number)
    }
}

/// A text that names no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no version: expected its epoch and number, such as v2.14 or 2.14")]
pub struct NoVersion(String);

impl FromStr for PolicyVersion {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let parse = || {
            let (epoch, number) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
            Some(Self {
                epoch: LearnerEpoch(epoch.parse().ok()?),
                number: number.parse().ok()?,
            })
        };
        parse().ok_or_else(|| NoVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_shown() {
        let version = PolicyVersion {
            epoch: LearnerEpoch(2),
            number: 14,
        };
        for text in ["v2.14", "2.14"] {
            assert_eq!(text.parse(), Ok(version));
        }
        for text in ["", "2", "v2", "2.x", "2.14.1", "-1.2"] {
            assert!(text.parse::<PolicyVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_higher_epoch_is_newer_whatever_its_number() {
        let old = PolicyVersion {
            epoch: LearnerEpoch(1),
            number: 90,
        };
        let new = PolicyVersion {
            epoch: LearnerEpoch(2),
            number: 3,
        };
        assert!(new > old);
        assert_eq!(new.next().number, 4);
    }
}

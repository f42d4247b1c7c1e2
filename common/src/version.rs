//! The counter of published weights.

use crate::LearnerEpoch;
use serde::{Deserialize, Serialize};
use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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

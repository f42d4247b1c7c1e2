//! Which versions the weights of a run have come through. A run has branches: a crash loses the versions behind the last
//! checkpoint, a rollback those behind the one it names, and a learner that has been superseded may write one more.

use common::PolicyVersion;
use serde::{Deserialize, Serialize};

/// The checkpoints that the starts of a run's learner went on from, oldest first. Each start went on from the last before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Lineage(Vec<PolicyVersion>);

impl From<Vec<PolicyVersion>> for Lineage {
    fn from(checkpoints: Vec<PolicyVersion>) -> Self {
        Self(checkpoints)
    }
}

impl Lineage {
    /// Its checkpoints, oldest first.
    pub(crate) fn checkpoints(&self) -> &[PolicyVersion] {
        &self.0
    }

    /// The lineage of a start that goes on from a checkpoint of this one.
    pub(crate) fn going_on_from(&self, checkpoint: PolicyVersion) -> Self {
        Self(self.0.iter().copied().chain([checkpoint]).collect())
    }

    /// The last of them; `None` when the run began with this start.
    pub(crate) fn parent(&self) -> Option<PolicyVersion> {
        self.0.last().copied()
    }

    /// Whether the weights came through the checkpoint of `version`.
    pub(crate) fn has_checkpoint(&self, version: PolicyVersion) -> bool {
        let handed_on = |from: &PolicyVersion| from.epoch == version.epoch && version.number <= from.number;
        self.0.iter().any(handed_on)
    }

    /// Whether `version`, published by an earlier start, has weights that these came through. A start that left no checkpoint
    /// published those of its parent under its own epoch.
    pub(crate) fn holds(&self, version: PolicyVersion) -> bool {
        let last = self.0.iter().rev().find(|from| from.epoch <= version.epoch);
        version.number <= last.map_or(0, |from| from.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::LearnerEpoch;

    fn version(epoch: u64, number: u64) -> PolicyVersion {
        PolicyVersion {
            epoch: LearnerEpoch(epoch),
            number,
        }
    }

    #[test]
    fn i3_a_version_that_a_start_left_behind_stays_so_when_the_run_has_passed_its_number() {
        let lineage = Lineage::default()
            .going_on_from(version(1, 5))
            .going_on_from(version(3, 9));
        for held in [
            version(1, 0),
            version(1, 5),
            version(2, 5),
            version(3, 9),
            version(4, 9),
        ] {
            assert!(lineage.holds(held), "{held}");
        }
        for lost in [version(1, 6), version(2, 6), version(3, 10), version(4, 10)] {
            assert!(!lineage.holds(lost), "{lost}");
        }
        assert!(lineage.has_checkpoint(version(1, 4)) && !lineage.has_checkpoint(version(2, 4)));
        assert_eq!(lineage.parent(), Some(version(3, 9)));
        assert!(Lineage::default().holds(version(1, 0)) && !Lineage::default().holds(version(1, 1)));
    }
}

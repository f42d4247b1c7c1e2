//! What of a ledger's notes stands: what the newest start's weights came through.

use super::RefusedLine;
use crate::ledger::{RefusalNote, StartNote, TrainingNote};
use common::{PolicyVersion, TaskId};
use std::collections::BTreeMap;

/// When a task's pair was trained on.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrainedAt {
    pub(super) version: PolicyVersion,
    pub(super) step: u64,
    /// Whether a crash has lost the version.
    pub(super) lost: bool,
}

/// What each task's pair was trained on, oldest version first. A version is lost when the newest start's weights have not come
/// through it; where nothing is noted of a start none is known to be.
pub(super) fn by_task(
    notes: Vec<TrainingNote>,
    start: Option<&StartNote>,
) -> BTreeMap<TaskId, Vec<TrainedAt>> {
    let mut trained: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for TrainingNote {
        version, step, tasks, ..
    } in notes
    {
        let lost = start.is_some_and(|start| !start.holds(version));
        for task in tasks {
            trained
                .entry(task)
                .or_default()
                .push(TrainedAt { version, step, lost });
        }
    }
    trained
}

/// Which pairs the newest start's weights leave behind, and why. Where nothing is noted of a start, every refusal counts.
pub(super) fn standing(notes: &[RefusalNote], start: Option<&StartNote>) -> BTreeMap<u64, RefusedLine> {
    let stands = |note: &&RefusalNote| start.is_none_or(|start| note.stands(start));
    let standing = notes.iter().filter(stands);
    standing.map(|note| (note.pair.sequence, note.into())).collect()
}

/// When the run's weights were trained on a task's pair.
pub(super) fn kept(trained: &[TrainedAt]) -> Option<&TrainedAt> {
    trained.iter().rev().find(|trained| !trained.lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_a_version_that_a_later_start_did_not_go_on_from_is_lost_and_its_training_does_not_count() {
        let note = |epoch, number, tasks: &[u64]| TrainingNote {
            version: PolicyVersion {
                epoch: common::LearnerEpoch(epoch),
                number,
            },
            step: 8 * number,
            tasks: tasks.iter().copied().map(TaskId).collect(),
            metrics: BTreeMap::new(),
        };
        // The second start went on from v1.2, the third from v2.3.
        let notes = vec![
            note(1, 1, &[0, 1]),
            note(1, 2, &[2, 3]),
            note(1, 3, &[4, 5]),
            note(1, 4, &[6, 7]),
            note(2, 3, &[4, 6]),
            note(2, 4, &[5, 9]),
            note(3, 4, &[5, 8]),
        ];
        let version = |epoch, number| PolicyVersion {
            epoch: common::LearnerEpoch(epoch),
            number,
        };
        let started = |epoch, lineage: &[PolicyVersion]| StartNote {
            epoch: common::LearnerEpoch(epoch),
            lineage: lineage.to_vec().into(),
        };
        // One that goes on from what a superseded start had finished.
        let from_late = by_task(notes.clone(), Some(&started(4, &[version(1, 4)])));
        let lost = |task| from_late[&TaskId(task)].iter().all(|trained| trained.lost);
        assert_eq!([0, 5, 7, 8, 9].map(lost), [false, false, false, true, true]);
        let trained = by_task(notes, Some(&started(3, &[version(1, 2), version(2, 3)])));
        let step = |task| {
            trained
                .get(&TaskId(task))
                .and_then(|of_task| kept(of_task))
                .map(|trained| trained.step)
        };
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(step),
            [
                Some(8),
                Some(8),
                Some(16),
                Some(16),
                Some(24),
                Some(32),
                Some(24),
                None,
                Some(32),
                None
            ]
        );
        assert_eq!(trained[&TaskId(5)].len(), 3);
    }
}

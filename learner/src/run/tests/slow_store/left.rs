//! What a run has left in its store, held against the invariants.

use super::*;
use crate::checkpoint::Manifest;
use crate::ledger::{LedgerLine, LedgerView};
use common::TaskId;
use std::collections::BTreeSet;

/// What is left of a run.
pub(super) struct Left {
    lines: Vec<LedgerLine>,
    pub(super) checkpoints: Vec<Manifest>,
}

impl Left {
    pub(super) async fn of(objects: &Arc<InMemory>) -> Self {
        let store = HeldStore::new(objects.clone(), None).as_store();
        let view = LedgerView::open(&store, &run_id()).await.unwrap();
        let (mut lines, mut reading) = (vec![], view.lines().await.unwrap());
        while let Some(line) = reading.next().await.unwrap() {
            lines.push(line);
        }
        let (kept, mut checkpoints) = (Checkpoints::of(&store, &run_id()), vec![]);
        for version in kept.order().await.unwrap().versions {
            checkpoints.push(kept.read(version).await.unwrap().manifest);
        }
        Self { lines, checkpoints }
    }

    pub(super) fn checkpointed(&self) -> Vec<u64> {
        let numbers = self.checkpoints.iter().map(|manifest| manifest.version.number);
        numbers.collect()
    }

    /// The versions that the weights of `of` came through and that this outcome was trained at.
    fn trained_at(line: &LedgerLine, of: &Manifest) -> Vec<PolicyVersion> {
        let lineage = of.lineage();
        let passed = |version: &&PolicyVersion| lineage.has_checkpoint(**version);
        line.trained_versions.iter().filter(passed).copied().collect()
    }

    /// I2, I3, I7: no task ended twice, and each pair before a checkpoint's cursor, and none behind it, was trained on once or refused.
    pub(super) fn assert_sound(&self) {
        let tasks: BTreeSet<TaskId> = self.lines.iter().map(|line| line.task).collect();
        assert_eq!(tasks.len(), self.lines.len(), "a task ended twice");
        for (place, manifest) in self.checkpoints.iter().enumerate() {
            let (version, account) = (manifest.version, manifest.account);
            let (before, behind) = self.lines.split_at(account.cursor as usize);
            let passed = behind
                .iter()
                .find(|line| !Self::trained_at(line, manifest).is_empty());
            assert!(
                passed.is_none(),
                "{version}: weights beyond the cursor: {passed:?}"
            );
            let mut trained = 0;
            let mut refused = 0;
            for line in before {
                refused += u64::from(line.refused.is_some());
                let at = Self::trained_at(line, manifest);
                assert!(at.len() <= 1, "{version}: {} was trained at {at:?}", line.task);
                for at in at {
                    let sampled_by = line.behaviour_version.unwrap();
                    let lag = (at.number - 1).saturating_sub(sampled_by.number);
                    assert!(lag <= MAX_STALENESS, "{} was {lag} versions old", line.task);
                    trained += 1;
                }
            }
            // What is refused is told of the newest weights.
            if place == 0 {
                assert_eq!(
                    refused,
                    account.refused.total(),
                    "{version}: not every refused pair has its reason"
                );
            }
            let pairs = before.iter().filter(|line| line.outcome == "pair").count() as u64;
            assert_eq!(
                trained, account.trained,
                "{version}: the cursor and the weights disagree"
            );
            assert_eq!(
                pairs,
                trained + account.refused.total(),
                "{version}: the cursor passes pairs that are neither in the weights nor refused"
            );
        }
    }

    /// I1.
    pub(super) fn assert_has(&self, acknowledged: &BTreeMap<u64, ActorId>) {
        for (task, actor) in acknowledged {
            let line = self.lines.iter().find(|line| line.task.0 == *task);
            let line = line.unwrap_or_else(|| panic!("task {task} was acknowledged and is lost"));
            assert_eq!(line.actor.as_deref(), Some(actor.as_str()), "task {task}");
        }
    }
}

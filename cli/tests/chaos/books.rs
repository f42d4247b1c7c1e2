//! What a run has recorded, held against what its actors were told and what its weights descend from.

use crate::lineage::{Lineage, Version};
use crate::place::Acknowledged;
use crate::stage::Stage;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A run's ledger, in the order of its records.
pub(crate) struct Books {
    lines: Vec<Line>,
}

/// The outcome of a task, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Line {
    task: u64,
    outcome: String,
    digest: String,
    trained_step: Option<u64>,
    trained_versions: Vec<Version>,
}

/// What does not agree.
#[derive(Debug, Default)]
pub(crate) struct Disagreements {
    /// Acknowledged outcomes that are not recorded.
    pub(crate) lost: usize,
    /// Tasks with more than one outcome.
    pub(crate) recorded_twice: usize,
    /// Pairs that the final weights were trained on more than once.
    pub(crate) trained_twice: usize,
    /// Settled pairs that were neither trained on nor refused, or both; by their number.
    pub(crate) unaccounted: usize,
    /// Pairs whose training the ledger tells otherwise than the checkpoints.
    pub(crate) told_wrongly: usize,
}

impl Books {
    /// Reads a run's.
    pub(crate) fn read(stage: &Stage, run: &str) -> Result<Self> {
        let exported = stage.tell(run, &["ledger", "export"])?;
        let lines = exported.lines().map(serde_json::from_str);
        let lines = lines.collect::<Result<_, _>>().context("the ledger's export")?;
        Ok(Self { lines })
    }

    /// Compares.
    pub(crate) fn against(&self, acknowledged: &[Acknowledged], lineage: &Lineage) -> Result<Disagreements> {
        let by_task: BTreeMap<u64, &Line> = self.lines.iter().map(|line| (line.task, line)).collect();
        let stands = |told: &&Acknowledged| {
            let recorded = by_task.get(&told.task);
            // A failure that was to be tried again is recorded as one that will not be: as other bytes.
            recorded.is_some_and(|line| line.digest == told.digest || line.outcome == "failed")
        };
        let mut found = Disagreements {
            lost: acknowledged.iter().filter(|told| !stands(told)).count(),
            recorded_twice: self.lines.len() - by_task.len(),
            ..Disagreements::default()
        };
        let account = &lineage.newest()?.account;
        let (mut pairs, mut trained) = (0, 0);
        for (place, line) in self.lines.iter().enumerate() {
            let mut times = 0;
            for &version in &line.trained_versions {
                times += usize::from(lineage.has(version)?);
            }
            let is_pair = line.outcome == "pair";
            found.trained_twice += usize::from(times > 1);
            found.told_wrongly +=
                usize::from((times > 0) != line.trained_step.is_some() || times > 0 && !is_pair);
            if place < account.cursor {
                pairs += usize::from(is_pair);
                trained += usize::from(times > 0);
            }
        }
        found.unaccounted = pairs.abs_diff(account.refused() + trained) + trained.abs_diff(account.trained);
        Ok(found)
    }
}

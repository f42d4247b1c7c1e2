//! What a run has recorded, held against what its actors were told and what its weights descend from.

use crate::lineage::{Lineage, Version};
use crate::place::Acknowledged;
use crate::stage::Stage;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
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
    refused: Option<Value>,
    images: Vec<String>,
}

/// What does not agree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Disagreements {
    /// Acknowledged outcomes that are not recorded.
    pub(crate) lost: usize,
    /// Tasks with more than one outcome.
    pub(crate) recorded_twice: usize,
    /// Pairs that the final weights were trained on more than once.
    pub(crate) trained_twice: usize,
    /// Settled pairs that were neither trained on nor refused, or both; by their number.
    pub(crate) unaccounted: usize,
    /// Pairs whose training the ledger tells otherwise than the checkpoints, or whose refusal, where they are settled.
    pub(crate) told_wrongly: usize,
    /// Outcomes with an image that is not there and should be.
    pub(crate) without_image: usize,
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
            // A failure that was to be tried again is recorded as one that will not be: as other bytes. Nothing else may end as a failure.
            let settled = |line: &Line| told.failed && line.outcome == "failed";
            recorded.is_some_and(|line| line.digest == told.digest || settled(line))
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
            let is_settled = place < account.cursor;
            let is_refused = is_pair && times == 0;
            found.told_wrongly += usize::from(
                (times > 0) != line.trained_step.is_some()
                    || times > 0 && !is_pair
                    || is_settled && is_refused != line.refused.is_some(),
            );
            let is_wrong = |state: &String| state == "missing" || state == "expired" && !is_settled;
            found.without_image += usize::from(line.images.iter().any(is_wrong));
            if is_settled {
                pairs += usize::from(is_pair);
                trained += usize::from(times > 0);
            }
        }
        found.unaccounted = pairs.abs_diff(account.refused() + trained) + trained.abs_diff(account.trained);
        Ok(found)
    }
}

/// Books in which everything is wrong once: each fault is found and none else.
pub(crate) fn faults_are_found() -> Result<()> {
    let version = |epoch, number| json!({ "epoch": epoch, "number": number });
    let line = |task: u64, outcome, digest, step: Option<u64>, versions: &[(u64, u64)]| {
        let images = match task {
            0 => ["expired", "present"],
            1 => ["present", "missing"],
            6 => ["present", "expired"],
            _ => ["present", "present"],
        };
        let versions: Vec<_> = versions
            .iter()
            .map(|&(epoch, number)| version(epoch, number))
            .collect();
        json!({
            "task": task, "outcome": outcome, "digest": digest, "trained_step": step, "trained_versions": versions,
            "refused": (digest == "f").then(|| json!({ "reason": "stale" })), "images": images,
        })
    };
    // The second start went on from v1.2; v1.3 is lost.
    let lines = [
        line(0, "pair", "a", Some(1), &[(1, 1)]),
        line(1, "pair", "b", Some(2), &[(1, 2), (2, 3)]),
        line(2, "pair", "c", Some(3), &[(1, 3)]),
        line(3, "pair", "d", Some(3), &[(1, 3), (2, 3)]),
        line(4, "no_pair", "e", None, &[]),
        line(5, "pair", "f", None, &[]),
        line(5, "failed", "g", None, &[]),
        // Behind the cursor.
        line(6, "pair", "h", None, &[]),
    ];
    let lines = lines.into_iter().map(serde_json::from_value);
    let books = Books {
        lines: lines.collect::<Result<_, _>>()?,
    };
    let manifest = |own, lineage: &[Value], refused| {
        json!({
            "version": own, "start": { "lineage": lineage }, "adapter": "w",
            "account": { "cursor": 7, "trained": 3, "refused": { "stale": refused } },
        })
    };
    let directory = tempfile::tempdir()?;
    let manifests = [
        ("1-2", manifest(version(1, 2), &[], 0)),
        ("2-3", manifest(version(2, 3), &[version(1, 2)], 1)),
    ];
    for (name, manifest) in manifests {
        let path = directory.path().join(format!("manifest-{name}.json"));
        std::fs::write(path, manifest.to_string())?;
    }
    let mut lineage = Lineage::of(directory.path().to_owned());
    lineage.look()?;
    let told = |task, digest: &str| Acknowledged {
        task,
        digest: digest.into(),
        failed: digest == "failed otherwise",
    };
    let acknowledged = [
        told(0, "a"),
        told(1, "x"),
        told(5, "failed otherwise"),
        // A pair whose task has a failure in its place.
        told(5, "f"),
        told(7, "gone"),
    ];
    let found = books.against(&acknowledged, &lineage)?;
    let expected = Disagreements {
        lost: 3,
        recorded_twice: 1,
        trained_twice: 1,
        // One of two that no version of the lineage was trained from is refused.
        unaccounted: 1,
        told_wrongly: 1,
        without_image: 2,
    };
    ensure!(found == expected, "{found:?}, expected {expected:?}");
    Ok(())
}

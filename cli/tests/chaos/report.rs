//! What a chaos comes to, and which promises it broke.

use crate::books::{Books, Disagreements};
use crate::place::Role;
use crate::stage::Mode;
use crate::storm::Storm;
use anyhow::{Context as _, Result};
use failpoint::Point;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The report.
pub(crate) struct Report {
    seed: u64,
    kills: BTreeMap<Role, u32>,
    points: BTreeMap<Point, u32>,
    acknowledged: usize,
    lost: usize,
    trained_twice: usize,
    adapter: Option<String>,
    reference: Option<String>,
    slowest: Option<(Duration, String)>,
    recoveries: u32,
    runs: Vec<Value>,
    broken: Vec<String>,
}

impl Report {
    /// Of nothing yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            kills: BTreeMap::new(),
            points: BTreeMap::new(),
            acknowledged: 0,
            lost: 0,
            trained_twice: 0,
            adapter: None,
            reference: None,
            slowest: None,
            recoveries: 0,
            runs: vec![],
            broken: vec![],
        }
    }

    /// What deterministic runs are to end with.
    pub(crate) fn expect(&mut self, reference: String) {
        self.reference = Some(reference);
    }

    /// A point that no process came to.
    pub(crate) fn never_hit(&mut self, point: Point) {
        self.broken.push(format!("point {} was never hit", point.name()));
    }

    /// A run that has ended with an adapter of this digest.
    pub(crate) fn add(
        &mut self,
        mode: Mode,
        run: &str,
        storm: &Storm,
        books: &Books,
        adapter: String,
    ) -> Result<()> {
        let found = books.against(&storm.acknowledged, &storm.lineage)?;
        self.judge(run, &found);
        let checkpoint = &storm.lineage.newest()?.adapter;
        if *checkpoint != adapter {
            self.broken.push(format!(
                "{run} left adapter {adapter}, its last checkpoint has {checkpoint}"
            ));
        }
        if mode == Mode::Deterministic {
            let reference = self.reference.as_ref().context("a reference")?;
            if adapter != *reference {
                self.broken.push(format!(
                    "{run} ended with adapter {adapter}, undisturbed it is {reference}"
                ));
            }
            if self.adapter.as_ref().is_none_or(|known| known == reference) {
                self.adapter = Some(adapter.clone());
            }
        }
        storm
            .kills
            .iter()
            .for_each(|(&role, kills)| *self.kills.entry(role).or_default() += kills);
        storm
            .points
            .iter()
            .for_each(|(&point, times)| *self.points.entry(point).or_default() += times);
        self.acknowledged += storm.acknowledged.len();
        self.lost += found.lost;
        self.trained_twice += found.trained_twice;
        self.recoveries += storm.recoveries;
        let slower = storm
            .slowest
            .clone()
            .filter(|(took, _)| self.slowest.as_ref().is_none_or(|(known, _)| took > known));
        self.slowest = slower.or(self.slowest.take());
        self.runs.push(json!({
            "run": run,
            "mode": mode.name(),
            "kills": by_name(&storm.kills, |role| role.name()),
            "points": by_name(&storm.points, |point| point.name()),
            "acknowledged": storm.acknowledged.len(),
            "lost": found.lost,
            "recorded_twice": found.recorded_twice,
            "trained_twice": found.trained_twice,
            "unaccounted": found.unaccounted,
            "told_wrongly": found.told_wrongly,
            "without_image": found.without_image,
            "adapter_blake3": adapter,
            "max_recovery_s": storm.slowest.as_ref().map(|(took, _)| took.as_secs_f64()),
        }));
        Ok(())
    }

    fn judge(&mut self, run: &str, found: &Disagreements) {
        let promises = [
            (found.lost, "acknowledged outcomes are lost (I1)"),
            (found.recorded_twice, "tasks have two outcomes (I2)"),
            (found.trained_twice, "pairs were trained on twice (I3)"),
            (
                found.unaccounted,
                "pairs were neither trained on nor refused, or both (I3)",
            ),
            (
                found.told_wrongly,
                "pairs have a training in the ledger that the weights do not have, or the reverse",
            ),
            (found.without_image, "outcomes miss an image that nobody let go"),
        ];
        let broken = promises.iter().filter(|(number, _)| *number > 0);
        self.broken
            .extend(broken.map(|(number, promise)| format!("{run}: {number} {promise}")));
    }

    /// The promises that were broken.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.broken.clone()
    }

    /// Writes it as one JSON object.
    pub(crate) fn write(&self, path: &Path, broken: &[String]) -> Result<()> {
        let report = json!({
            "seed": self.seed,
            "kills": by_name(&self.kills, |role| role.name()),
            "points": Point::ALL.iter().map(|point| {
                (point.name().to_owned(), self.points.get(point).copied().unwrap_or(0).into())
            }).collect::<serde_json::Map<_, _>>(),
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "trained_twice": self.trained_twice,
            "adapter_blake3": self.adapter,
            "reference_blake3": self.reference,
            "max_recovery_s": self.slowest.as_ref().map(|(took, _)| took.as_secs_f64()),
            "slowest": self.slowest.as_ref().map(|(_, name)| name),
            "recoveries": self.recoveries,
            "runs": self.runs,
            "broken": broken,
        });
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// It in a line or two.
    pub(crate) fn summary(&self) -> String {
        let kills: Vec<_> = self
            .kills
            .iter()
            .map(|(role, kills)| format!("{kills} of {}", role.name()))
            .collect();
        let hits: u32 = self.points.values().sum();
        let slowest = self.slowest.as_ref().map_or(0.0, |(took, _)| took.as_secs_f64());
        format!(
            "{} runs; kills: {}; {hits} deaths at {} of {} points; {} acknowledged, {} lost, {} trained twice; slowest of {} \
             recoveries {slowest:.1} s",
            self.runs.len(),
            kills.join(", "),
            self.points.len(),
            Point::ALL.len(),
            self.acknowledged,
            self.lost,
            self.trained_twice,
            self.recoveries,
        )
    }
}

fn by_name<K: Copy>(
    counts: &BTreeMap<K, u32>,
    name: impl Fn(K) -> &'static str,
) -> BTreeMap<&'static str, u32> {
    counts.iter().map(|(&key, &count)| (name(key), count)).collect()
}

//! The versions that a run's final weights descend from, by its checkpoints: what every start went on from is looked at before
//! it is started, for old checkpoints go.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A policy version as manifests and the ledger write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Version {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
}

/// What a checkpoint's manifest says, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Manifest {
    version: Version,
    start: Start,
    pub(crate) adapter: String,
    pub(crate) account: Account,
}

/// What it says of the start of the learner that wrote it.
#[derive(Debug, Clone, Deserialize)]
struct Start {
    /// The checkpoints that it and the starts before it went on from, oldest first.
    lineage: Vec<Version>,
}

/// What it says of the run's pairs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Account {
    /// The records before it are settled.
    pub(crate) cursor: usize,
    pub(crate) trained: usize,
    refused: BTreeMap<String, usize>,
}

impl Account {
    /// Pairs that were refused, for whatever reason.
    pub(crate) fn refused(&self) -> usize {
        self.refused.values().sum()
    }
}

/// A run's checkpoints, those among them that are gone.
pub(crate) struct Lineage {
    place: PathBuf,
    seen: BTreeMap<Version, Manifest>,
}

impl Lineage {
    /// Of a run whose manifests are in the directory `place`.
    pub(crate) fn of(place: PathBuf) -> Self {
        let seen = BTreeMap::new();
        Self { place, seen }
    }

    /// Takes note of the checkpoints that are there now. For when nobody writes any.
    pub(crate) fn look(&mut self) -> Result<()> {
        // A learner that died early has none.
        let Ok(entries) = std::fs::read_dir(&self.place) else {
            return Ok(());
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let json = std::fs::read(&path)?;
                let manifest = serde_json::from_slice(&json);
                let manifest: Manifest = manifest.with_context(|| path.display().to_string())?;
                self.seen.insert(manifest.version, manifest);
            }
        }
        Ok(())
    }

    /// The newest checkpoint.
    pub(crate) fn newest(&self) -> Result<&Manifest> {
        let (_, newest) = self.seen.last_key_value().context("the run has no checkpoint")?;
        Ok(newest)
    }

    /// Whether the newest checkpoint's weights descend from a version.
    pub(crate) fn has(&self, version: Version) -> Result<bool> {
        let mut descendant = self.newest()?;
        loop {
            let (Version { epoch, number }, parent) = (descendant.version, descendant.start.lineage.last());
            if version.epoch == epoch {
                let begins = parent.map_or(0, |parent| parent.number);
                return Ok((begins + 1..=number).contains(&version.number));
            }
            let Some(parent) = parent else {
                return Ok(false);
            };
            let known = self.seen.get(parent);
            descendant = known.with_context(|| format!("nobody saw checkpoint {parent:?}"))?;
        }
    }
}

//! What came of a simulation.

use crate::hosts::Hosts;
use crate::trace::Facts;
use learner::RunSummary;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a simulation should have come upon now and then, in the words of whoever did.
const COUNTED: [&str; 17] = [
    "checkpoint written",
    "fault",
    "held back",
    "lease left behind: its actor was started anew",
    "lease ran out",
    "leases given again: their answer was lost",
    "outcome refused",
    "outcomes dropped: the learner was started anew",
    "outcomes of an earlier start taken up",
    RARE,
    "relay given up",
    "sent twice",
    "stream cut",
    "the run's end is recorded",
    "the run's end stands in its store",
    "version offered",
    "version received",
];

/// The one among them that many runs do without: tasks are not leased that could come too late.
pub(crate) const RARE: &str = "pair refused: too stale";

/// What came of a simulation.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    /// Of every event, in order.
    pub(crate) digest: String,
    events: u64,
    simulated_s: f64,
    deterministic: bool,
    actors: usize,
    faults: usize,
    learner_starts: u32,
    acknowledged: usize,
    pairs: u64,
    pairs_trained: u64,
    pairs_refused: u64,
    /// How often each thing was said that is in [`COUNTED`].
    said: BTreeMap<&'static str, u64>,
    /// Promises that were broken.
    pub(crate) broken: Vec<String>,
}

impl Verdict {
    /// Of hosts whose run ended with `summary`, if it did, after so much simulated time.
    pub(crate) fn of(
        hosts: &Hosts,
        facts: &Facts,
        summary: Option<&RunSummary>,
        elapsed: Duration,
        broken: Vec<String>,
    ) -> Self {
        let number = |count: fn(&RunSummary) -> u64| summary.map_or(0, count);
        let said = |&word: &&'static str| (word, facts.said.get(word).copied().unwrap_or_default());
        Self {
            seed: hosts.scenario.seed,
            digest: facts.digest(),
            events: facts.events,
            simulated_s: elapsed.as_secs_f64(),
            deterministic: hosts.scenario.learner.deterministic,
            actors: hosts.scenario.actors,
            faults: hosts.scenario.faults.len(),
            learner_starts: hosts.ended.borrow().starts,
            acknowledged: facts.acknowledged.len(),
            pairs: number(|summary| summary.outcomes.pairs),
            pairs_trained: number(|summary| summary.pairs_trained),
            pairs_refused: number(|summary| summary.pairs_refused),
            said: COUNTED.iter().map(said).collect(),
            broken,
        }
    }
}

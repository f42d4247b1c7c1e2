//! Many seeds, each in a process of its own: what a simulation does must not depend on those before it.

use crate::verdict;
use anyhow::{Context as _, Result, bail};
use failpoint::Mutation;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How long a seed may take, on a machine that does other things too.
const LONGEST: Duration = Duration::from_secs(120);

/// What came of some seeds.
#[derive(Debug, Serialize)]
pub(crate) struct Sweep {
    seeds: usize,
    simulated_s: f64,
    events: u64,
    learner_starts: u64,
    acknowledged: u64,
    pairs_trained: u64,
    said: BTreeMap<String, u64>,
    /// Of the events, by seed.
    #[serde(skip)]
    pub(crate) digests: Vec<String>,
    /// Verdicts of seeds that broke a promise.
    #[serde(skip)]
    pub(crate) broken: Vec<Value>,
    broken_seeds: Vec<u64>,
}

impl Sweep {
    /// Simulates all of them.
    ///
    /// # Errors
    /// When one has no verdict.
    pub(crate) fn over(seeds: RangeInclusive<u64>, mutation: Option<Mutation>) -> Result<Self> {
        let verdicts = simulate(seeds, mutation, |_| true)?;
        let sum = |name: &str| verdicts.iter().filter_map(|verdict| verdict[name].as_u64()).sum();
        let is_broken = |verdict: &&Value| {
            verdict["broken"]
                .as_array()
                .is_some_and(|broken| !broken.is_empty())
        };
        let broken: Vec<Value> = verdicts.iter().filter(is_broken).cloned().collect();
        Ok(Self {
            seeds: verdicts.len(),
            simulated_s: verdicts
                .iter()
                .filter_map(|verdict| verdict["simulated_s"].as_f64())
                .sum(),
            events: sum("events"),
            learner_starts: sum("learner_starts"),
            acknowledged: sum("acknowledged"),
            pairs_trained: sum("pairs_trained"),
            said: said(&verdicts),
            digests: verdicts
                .iter()
                .map(|verdict| verdict["digest"].to_string())
                .collect(),
            broken_seeds: broken
                .iter()
                .filter_map(|verdict| verdict["seed"].as_u64())
                .collect(),
            broken,
        })
    }

    /// Something that the runs should have come upon and did not.
    pub(crate) fn never_said(&self) -> Option<&str> {
        let mut said = self.said.iter();
        let never = said.find(|(word, count)| **count == 0 && word.as_str() != verdict::RARE);
        never.map(|(word, _)| word.as_str())
    }

    /// The first verdict in which a promise is broken.
    ///
    /// # Errors
    /// When one has no verdict.
    pub(crate) fn until_broken(seeds: RangeInclusive<u64>, mutation: Mutation) -> Result<Option<Value>> {
        let whole = |verdict: &Value| verdict["broken"].as_array().is_some_and(Vec::is_empty);
        let verdicts = simulate(seeds, Some(mutation), whole)?;
        Ok(verdicts.into_iter().find(|verdict| !whole(verdict)))
    }
}

/// The verdicts of seeds, in their order, until one says that no more are needed.
fn simulate(
    seeds: RangeInclusive<u64>,
    mutation: Option<Mutation>,
    goes_on: impl Fn(&Value) -> bool + Sync,
) -> Result<Vec<Value>> {
    let queue = Mutex::new(Some(seeds));
    let verdicts = Mutex::new(Ok(vec![]));
    let work = || {
        loop {
            let Some(seed) = queue.lock().unwrap().as_mut().and_then(Iterator::next) else {
                return;
            };
            let verdict = verdict_of(seed, mutation);
            let last = !verdict.as_ref().is_ok_and(&goes_on);
            let mut all = verdicts.lock().unwrap();
            match (verdict, all.as_mut()) {
                (Ok(verdict), Ok(all)) => all.push(verdict),
                (Err(error), Ok(_)) => *all = Err(error),
                _ => {}
            }
            if last {
                *queue.lock().unwrap() = None;
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut verdicts = verdicts.into_inner().unwrap()?;
    verdicts.sort_by_key(|verdict: &Value| verdict["seed"].as_u64());
    Ok(verdicts)
}

/// How often each thing was said in all of them.
fn said(verdicts: &[Value]) -> BTreeMap<String, u64> {
    let mut said = BTreeMap::new();
    for (word, count) in verdicts
        .iter()
        .filter_map(|verdict| verdict["said"].as_object())
        .flatten()
    {
        *said.entry(word.clone()).or_default() += count.as_u64().unwrap_or_default();
    }
    said
}

fn verdict_of(seed: u64, mutation: Option<Mutation>) -> Result<Value> {
    let mut command = Command::new(std::env::current_exe().context("this program's own path")?);
    command.args(["--seed", &seed.to_string()]).stdin(Stdio::null());
    if let Some(mutation) = mutation {
        command.args(["--mutation", mutation.name()]);
    }
    let began = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("seed {seed} cannot be simulated"))?;
    // A verdict is one line, which a pipe holds.
    while child.try_wait().context("the simulation's end")?.is_none() {
        if began.elapsed() > LONGEST {
            // It may just have ended.
            let _ = child.kill();
            bail!("seed {seed} takes longer than {} s", LONGEST.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().context("the simulation's verdict")?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("seed {seed} has no verdict: simulate it alone to see why"))
}

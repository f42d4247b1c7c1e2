//! The course of a simulation: hosts are started, disturbed as the scenario says, started again, and watched to the end.

use crate::hosts::Hosts;
use crate::laws;
use crate::scenario::{Fault, Scenario};
use crate::trace::Recorder;
use crate::verdict::Verdict;
use anyhow::{Context as _, Result};
use learner::{LearnerError, RunSummary};
use std::collections::BTreeMap;
use std::time::Duration;
use store::StoreError;
use turmoil::Sim;

/// How finely time passes.
const TICK: Duration = Duration::from_millis(5);

/// How long a run may take once nothing breaks any more.
const PATIENCE: Duration = Duration::from_secs(400);

/// How long actors may go on when the run is complete. One that is cut off notices within 20 s that the learner is gone, and then looks for the
/// run's end at least every 30 s.
const FAREWELL: Duration = Duration::from_secs(120);

/// The pause after which an orchestrator starts a learner again that has ended.
const RESTART: Duration = Duration::from_millis(700);

/// What is done at some time.
enum Action {
    Fault(Fault),
    Start(String),
    Repair([String; 2]),
    Release([String; 2]),
    Quicken([String; 2]),
}

/// Runs a scenario to its end.
///
/// # Errors
/// When it cannot be set up, or something panics in it.
pub(crate) fn play(scenario: Scenario, recorder: &Recorder) -> Result<Verdict> {
    let hosts = Hosts::new(scenario)?;
    let mut sim = turmoil::Builder::new()
        .rng_seed(hosts.scenario.seed)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(3_600))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(hosts.scenario.latency)
        .enable_random_order()
        .tcp_capacity(4_096)
        .build();
    hosts.start(&mut sim, recorder);
    let mut stage = Stage {
        actions: BTreeMap::new(),
        count: 0,
        usurped: false,
        hosts,
    };
    for (at, fault) in stage.hosts.scenario.faults.clone() {
        stage.at(at, Action::Fault(fault));
    }
    let mut broken = vec![];
    let summary = stage.until_complete(&mut sim, recorder, &mut broken)?;
    if summary.is_some() {
        stage.until_left(&mut sim, recorder, &mut broken)?;
    }
    let facts = recorder.facts();
    broken.extend(facts.broken.iter().cloned());
    let hosts = &stage.hosts;
    if let Some(summary) = &summary {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            // The machine's clock stands still.
            .start_paused(true)
            .build()?;
        let laws = laws::broken(&hosts.scenario, &hosts.store, &facts, summary);
        broken.extend(runtime.block_on(laws)?);
    }
    let elapsed = sim.elapsed();
    Ok(Verdict::of(hosts, &facts, summary.as_ref(), elapsed, broken))
}

/// What happens next.
struct Stage {
    hosts: Hosts,
    /// By time, and in the order of planning.
    actions: BTreeMap<(Duration, u64), Action>,
    count: u64,
    /// Whether there has been a second learner.
    usurped: bool,
}

impl Stage {
    fn at(&mut self, time: Duration, action: Action) {
        self.count += 1;
        self.actions.insert((time, self.count), action);
    }

    /// Lets the run go on until a learner has completed it.
    fn until_complete(
        &mut self,
        sim: &mut Sim<'_>,
        recorder: &Recorder,
        broken: &mut Vec<String>,
    ) -> Result<Option<RunSummary>> {
        let mut quiet = Duration::ZERO;
        loop {
            self.do_what_is_due(sim);
            if !self.actions.is_empty() {
                quiet = sim.elapsed();
            }
            step(sim)?;
            if let Some(summary) = self.look_after_learners(sim, broken) {
                return Ok(Some(summary));
            }
            self.look_after_actors(recorder, broken);
            if sim.elapsed() > quiet + PATIENCE {
                broken.push(format!(
                    "the run does not end within {} s after the last fault",
                    PATIENCE.as_secs()
                ));
            }
            if !broken.is_empty() || !recorder.facts().broken.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Lets the actors leave: all of them, whatever they were at, those that are down and come back too. What is broken is mended meanwhile, and nothing else breaks.
    fn until_left(&mut self, sim: &mut Sim<'_>, recorder: &Recorder, broken: &mut Vec<String>) -> Result<()> {
        let complete = sim.elapsed();
        self.actions
            .retain(|_, action| !matches!(action, Action::Fault(_)));
        while recorder.facts().broken.is_empty() {
            let at_work = self.hosts.ended.borrow().at_work.clone();
            let is_to_come =
                |action: &Action| matches!(action, Action::Start(host) if host.starts_with("actor-"));
            if at_work.is_empty() && !self.actions.values().any(is_to_come) {
                break;
            }
            if sim.elapsed() > complete + FAREWELL {
                let seconds = FAREWELL.as_secs();
                broken.push(format!(
                    "I11: {at_work:?} have not ended {seconds} s after the run"
                ));
                break;
            }
            self.do_what_is_due(sim);
            step(sim)?;
            self.look_after_learners(sim, broken);
        }
        let ended = self.hosts.ended.borrow();
        let wrong = ended.actors.iter().filter(|(_, ended)| ended.is_err());
        broken.extend(wrong.map(|(name, ended)| format!("{name} ended with {ended:?}")));
        Ok(())
    }

    fn do_what_is_due(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        while let Some(due) = self.actions.first_entry().filter(|due| due.key().0 <= now) {
            let action = due.remove();
            self.act(sim, action);
        }
    }

    /// None may end for another reason than that its run is complete, which is told, or that another one has taken over.
    fn look_after_learners(&mut self, sim: &Sim<'_>, broken: &mut Vec<String>) -> Option<RunSummary> {
        let learners = std::mem::take(&mut self.hosts.ended.borrow_mut().learners);
        for (name, ended) in learners {
            match ended {
                Ok(summary) if summary.complete => return Some(summary),
                Err(LearnerError::Store(StoreError::Fenced { .. })) => {}
                ended => broken.push(format!("{name} ended with {ended:?}")),
            }
            if name == "learner" {
                self.at(sim.elapsed() + RESTART, Action::Start(name));
            }
        }
        None
    }

    /// None may end by itself before the run does, unless it was asked to.
    fn look_after_actors(&self, recorder: &Recorder, broken: &mut Vec<String>) {
        let ended = std::mem::take(&mut self.hosts.ended.borrow_mut().actors);
        for (name, ended) in ended {
            match ended {
                Err(error) => broken.push(format!("{name} ended with {error:?}")),
                Ok(summary) if summary.complete && recorder.facts().ends.is_empty() => {
                    broken.push(format!("I11: {name} takes a run for complete that has no end"));
                }
                Ok(_) => {}
            }
        }
    }

    fn act(&mut self, sim: &mut Sim<'_>, action: Action) {
        match action {
            Action::Start(host) => sim.bounce(host),
            Action::Repair([a, b]) => sim.repair(a, b),
            Action::Release([a, b]) => sim.release(a, b),
            Action::Quicken([a, b]) => sim.set_link_latency(a, b, self.hosts.scenario.latency),
            Action::Fault(fault) => self.disturb(sim, fault),
        }
    }

    fn disturb(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        let now = sim.elapsed();
        tracing::debug!(target: "simulation", at_ms = now.as_millis() as u64, ?fault, "fault");
        match fault {
            Fault::Crash { host, down } => {
                sim.crash(host.as_str());
                self.hosts.ended.borrow_mut().at_work.remove(&host);
                self.at(now + down, Action::Start(host));
            }
            Fault::Drain { host, down } => {
                if let Some(stop) = self.hosts.stops.borrow().get(&host) {
                    stop.cancel();
                }
                // It is killed where it has not ended by then.
                let grace = Duration::from_secs_f64(self.hosts.scenario.actor.drain_timeout_s);
                self.at(now + grace + down, Action::Start(host));
            }
            Fault::Partition { between, lasts } => {
                sim.partition(between[0].as_str(), between[1].as_str());
                self.at(now + lasts, Action::Repair(between));
            }
            Fault::OneWay { between, lasts } => {
                sim.partition_oneway(between[0].as_str(), between[1].as_str());
                self.at(now + lasts, Action::Repair(between));
            }
            Fault::Hold { between, lasts } => {
                sim.hold(between[0].as_str(), between[1].as_str());
                self.at(now + lasts, Action::Release(between));
            }
            Fault::Slow {
                between,
                latency,
                lasts,
            } => {
                sim.set_link_latency(between[0].as_str(), between[1].as_str(), latency);
                self.at(now + lasts, Action::Quicken(between));
            }
            Fault::Usurper => match self.usurped {
                true => sim.bounce("usurper"),
                false => {
                    self.usurped = true;
                    self.hosts.add_learner(sim, "usurper");
                }
            },
        }
    }
}

fn step(sim: &mut Sim<'_>) -> Result<()> {
    let stepped = sim.step();
    stepped
        .map(|_| ())
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("a host failed")
}

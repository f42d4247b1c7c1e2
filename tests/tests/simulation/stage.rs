//! The hosts of a simulation and their life: started, disturbed as the scenario says, started again, watched to the end.

use crate::network::{Links, PORT, listen};
use crate::scenario::{Fault, Scenario};
use crate::trace::Recorder;
use crate::{ghost, journal::MemoryJournals, laws, liar};
use actor::{ActorError, ActorSummary, Served, SimulatedActorInputs};
use anyhow::{Context as _, Result};
use common::{ActorId, RunId};
use data::Catalogue;
use learner::{LearnerError, RunSummary, SimulatedInputs};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use proto::AllowNetwork;
use serde::Serialize;
use shopworld::{ShopWorld, ShopWorldConfig};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

/// How finely time passes.
const TICK: Duration = Duration::from_millis(5);

/// How long a run may take once nothing breaks any more.
const PATIENCE: Duration = Duration::from_secs(400);

/// How long actors may go on when the run is complete: longer than they look for a learner that is gone.
const FAREWELL: Duration = Duration::from_secs(30);

/// The pause after which an orchestrator starts a learner again that has ended.
const RESTART: Duration = Duration::from_millis(700);

/// What a simulation should have come upon now and then, in the words of whoever did.
const COUNTED: [&str; 11] = [
    "checkpoint written",
    "fault",
    "lease ran out",
    "leases given again: their answer was lost",
    "outcome refused",
    "outcomes dropped: the learner was started anew",
    "outcomes of an earlier start taken up",
    "pair refused: too stale",
    "relay given up for the learner",
    "version offered",
    "version received",
];

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

/// What the hosts share with whoever watches.
#[derive(Clone)]
struct Shared {
    scenario: Rc<Scenario>,
    run: RunId,
    store: Store,
    catalogue: Arc<dyn Catalogue>,
    links: Links,
    ended: Rc<RefCell<Ended>>,
    /// Asks the process on a host to stop.
    stops: Rc<RefCell<BTreeMap<String, CancellationToken>>>,
}

/// How processes ended that nobody killed.
#[derive(Default)]
struct Ended {
    learners: Vec<(String, Result<RunSummary, LearnerError>)>,
    actors: Vec<(String, Result<ActorSummary, ActorError>)>,
    starts: u32,
}

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
    let shared = Shared::new(scenario)?;
    let mut sim = turmoil::Builder::new()
        .rng_seed(shared.scenario.seed)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(3_600))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(shared.scenario.latency)
        .enable_random_order()
        .tcp_capacity(4_096)
        .build();
    shared.start_hosts(&mut sim, recorder);
    let mut stage = Stage {
        actions: BTreeMap::new(),
        count: 0,
        usurped: false,
        shared,
    };
    for (at, fault) in stage.shared.scenario.faults.clone() {
        stage.at(at, Action::Fault(fault));
    }
    let mut broken = vec![];
    let summary = stage.until_complete(&mut sim, recorder, &mut broken)?;
    if summary.is_some() {
        stage.until_left(&mut sim, recorder, &mut broken)?;
    }
    let facts = recorder.facts();
    broken.extend(facts.broken.iter().cloned());
    let shared = &stage.shared;
    if let Some(summary) = &summary {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let laws = laws::broken(&shared.scenario, &shared.store, &facts, summary);
        broken.extend(runtime.block_on(laws)?);
    }
    let number = |count: fn(&RunSummary) -> u64| summary.as_ref().map_or(0, count);
    Ok(Verdict {
        seed: shared.scenario.seed,
        digest: facts.digest(),
        events: facts.events,
        simulated_s: sim.elapsed().as_secs_f64(),
        deterministic: shared.scenario.learner.deterministic,
        actors: shared.scenario.actors,
        faults: shared.scenario.faults.len(),
        learner_starts: shared.ended.borrow().starts,
        acknowledged: facts.acknowledged.len(),
        pairs: number(|summary| summary.outcomes.pairs),
        pairs_trained: number(|summary| summary.pairs_trained),
        pairs_refused: number(|summary| summary.pairs_refused),
        said: COUNTED
            .iter()
            .map(|&word| (word, facts.said.get(word).copied().unwrap_or_default()))
            .collect(),
        broken,
    })
}

impl Shared {
    fn new(scenario: Scenario) -> Result<Self> {
        let shop = ShopWorldConfig {
            products: 16,
            product_size: 16,
            ..ShopWorldConfig::default()
        };
        let millis = Duration::from_millis;
        let pace = ThrottleConfig {
            wait_put_per_call: millis(15),
            wait_get_per_call: millis(5),
            wait_list_per_call: millis(10),
            ..ThrottleConfig::default()
        };
        let objects = Arc::new(ThrottledStore::new(InMemory::new(), pace));
        let store = Store::over(objects, "memory:///".parse()?);
        Ok(Self {
            run: RunId::new("simulated")?,
            store: store.with_journals(Arc::new(MemoryJournals::new(scenario.seed))),
            catalogue: Arc::new(ShopWorld::new(shop, scenario.seed)?.catalogue()),
            links: Links::new(scenario.seed, scenario.broken_links),
            scenario: Rc::new(scenario),
            ended: Rc::default(),
            stops: Rc::default(),
        })
    }

    fn actor_names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.scenario.actors).map(|number| format!("actor-{number}"))
    }

    fn start_hosts(&self, sim: &mut Sim<'_>, recorder: &Recorder) {
        self.add_learner(sim, "learner");
        if self.scenario.liar {
            let shared = self.clone();
            sim.host("liar", move || {
                let shared = shared.clone();
                async move { liar::lie(shared.run, shared.links, shared.scenario.adapter_bytes).await }
            });
        }
        for name in self.actor_names() {
            let (shared, starts) = (self.clone(), Rc::new(RefCell::new(0)));
            let host = name.clone();
            sim.host(host, move || {
                *starts.borrow_mut() += 1;
                let id = format!("{name}.{}", starts.borrow());
                shared.clone().actor(name.clone(), id)
            });
        }
        if self.scenario.ghost {
            let (shared, recorder) = (self.clone(), recorder.clone());
            sim.host("ghost", move || {
                let (shared, recorder) = (shared.clone(), recorder.clone());
                async move { ghost::haunt((*shared.scenario).clone(), shared.run, shared.links, recorder).await }
            });
        }
    }

    fn add_learner(&self, sim: &mut Sim<'_>, name: &'static str) {
        let shared = self.clone();
        sim.host(name, move || shared.clone().learner(name));
    }

    async fn learner(self, name: &'static str) -> turmoil::Result {
        self.ended.borrow_mut().starts += 1;
        let inputs = SimulatedInputs {
            run_id: self.run,
            run_seed: self.scenario.seed,
            catalogue: self.catalogue,
            store: self.store,
            authorizer: Arc::new(AllowNetwork),
            adapter_bytes: self.scenario.adapter_bytes,
            step: self.scenario.step,
        };
        let (config, incoming) = (self.scenario.learner.clone(), listen().await?);
        let ended = learner::run_simulated(config, inputs, incoming, CancellationToken::new()).await;
        self.ended.borrow_mut().learners.push((name.to_owned(), ended));
        Ok(())
    }

    async fn actor(self, name: String, id: String) -> turmoil::Result {
        let (begin, stop) = (CancellationToken::new(), CancellationToken::new());
        begin.cancel();
        self.stops.borrow_mut().insert(name.clone(), stop.clone());
        let inputs = SimulatedActorInputs {
            actor_id: ActorId::new(id)?,
            learner_url: format!("http://learner:{PORT}"),
            network: Arc::new(self.links.clone()),
            begin,
            delay: Duration::ZERO,
            generate: self.scenario.generate,
            authorizer: Arc::new(AllowNetwork),
        };
        let served = Served {
            incoming: listen().await?,
            port: PORT,
        };
        let ended = actor::run_simulated(self.scenario.actor.clone(), inputs, Some(served), stop).await;
        let ended = ended.map(|(summary, _)| summary);
        self.ended.borrow_mut().actors.push((name, ended));
        Ok(())
    }
}

/// What happens next.
struct Stage {
    shared: Shared,
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
            while let Some(due) = self
                .actions
                .first_entry()
                .filter(|due| due.key().0 <= sim.elapsed())
            {
                let action = due.remove();
                self.act(sim, action);
            }
            if !self.actions.is_empty() {
                quiet = sim.elapsed();
            }
            step(sim)?;
            let learners = std::mem::take(&mut self.shared.ended.borrow_mut().learners);
            for (name, ended) in learners {
                match ended {
                    Ok(summary) if summary.complete => return Ok(Some(summary)),
                    Err(LearnerError::Store(StoreError::Fenced { .. })) => {}
                    ended => broken.push(format!("{name} ended with {ended:?}")),
                }
                if name == "learner" {
                    self.at(sim.elapsed() + RESTART, Action::Start(name));
                }
            }
            self.look_after_actors(broken);
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

    /// Lets the actors leave.
    fn until_left(&mut self, sim: &mut Sim<'_>, recorder: &Recorder, broken: &mut Vec<String>) -> Result<()> {
        let complete = sim.elapsed();
        while sim.elapsed() < complete + FAREWELL && recorder.facts().broken.is_empty() {
            step(sim)?;
            // One that was cut off looks for the learner in vain.
            self.shared
                .ended
                .borrow_mut()
                .actors
                .retain(|(_, ended)| ended.is_err());
        }
        let wrong = |error: &ActorError| !matches!(error, ActorError::Unreachable { .. });
        let ended = self.shared.ended.borrow();
        let wrong = ended
            .actors
            .iter()
            .filter(|(_, ended)| ended.as_ref().is_err_and(wrong));
        broken.extend(wrong.map(|(name, ended)| format!("{name} ended with {ended:?}")));
        Ok(())
    }

    /// None may end by itself before the run does, unless it was asked to.
    fn look_after_actors(&self, broken: &mut Vec<String>) {
        let ended = std::mem::take(&mut self.shared.ended.borrow_mut().actors);
        for (name, ended) in ended {
            if let Err(error) = ended {
                broken.push(format!("{name} ended with {error:?}"));
            }
        }
    }

    fn act(&mut self, sim: &mut Sim<'_>, action: Action) {
        match action {
            Action::Start(host) => sim.bounce(host),
            Action::Repair([a, b]) => sim.repair(a, b),
            Action::Release([a, b]) => sim.release(a, b),
            Action::Quicken([a, b]) => sim.set_link_latency(a, b, self.shared.scenario.latency),
            Action::Fault(fault) => self.disturb(sim, fault),
        }
    }

    fn disturb(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        let now = sim.elapsed();
        tracing::debug!(target: "simulation", at_ms = now.as_millis() as u64, ?fault, "fault");
        match fault {
            Fault::Crash { host, down } => {
                sim.crash(host.as_str());
                self.at(now + down, Action::Start(host));
            }
            Fault::Drain { host, down } => {
                if let Some(stop) = self.shared.stops.borrow().get(&host) {
                    stop.cancel();
                }
                // It is killed where it has not ended by then.
                let grace = Duration::from_secs_f64(self.shared.scenario.actor.drain_timeout_s);
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
                    self.shared.add_learner(sim, "usurper");
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

//! The hosts of a simulation: what runs on each, and what it has left behind when it ends.

use crate::network::{Links, PORT, listen};
use crate::scenario::Scenario;
use crate::trace::Recorder;
use crate::{ghost, journal::MemoryJournals};
use actor::{ActorError, ActorSummary, ExpectedRun, Served, SimulatedActorInputs, SimulatedSampling};
use anyhow::Result;
use common::{ActorId, RunId};
use data::Catalogue;
use learner::{LearnerError, RunSummary, SimulatedAdapters, SimulatedInputs};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use proto::AllowNetwork;
use shopworld::{ShopWorld, ShopWorldConfig};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

/// The hosts, as each of them knows the others and as whoever watches sees them.
#[derive(Clone)]
pub(crate) struct Hosts {
    pub(crate) scenario: Rc<Scenario>,
    run: RunId,
    pub(crate) store: Store,
    catalogue: Arc<dyn Catalogue>,
    links: Links,
    pub(crate) ended: Rc<RefCell<Ended>>,
    /// Asks the process on a host to stop.
    pub(crate) stops: Rc<RefCell<BTreeMap<String, CancellationToken>>>,
}

/// How processes ended that nobody killed.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) learners: Vec<(String, Result<RunSummary, LearnerError>)>,
    pub(crate) actors: Vec<(String, Result<ActorSummary, ActorError>)>,
    /// Actors that have neither ended nor been killed.
    pub(crate) at_work: BTreeSet<String>,
    pub(crate) starts: u32,
}

impl Hosts {
    pub(crate) fn new(scenario: Scenario) -> Result<Self> {
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
            links: Links::new(&scenario),
            scenario: Rc::new(scenario),
            ended: Rc::default(),
            stops: Rc::default(),
        })
    }

    fn actor_names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.scenario.actors).map(|number| format!("actor-{number}"))
    }

    pub(crate) fn start(&self, sim: &mut Sim<'_>, recorder: &Recorder) {
        self.add_learner(sim, "learner");
        if let Some(bad_relay) = self.scenario.bad_relay {
            let hosts = self.clone();
            sim.host("bad-relay", move || {
                let (hosts, bytes) = (hosts.clone(), hosts.scenario.adapter_bytes);
                bad_relay.take_a_place(hosts.run, hosts.links, bytes)
            });
        }
        for name in self.actor_names() {
            let (hosts, starts) = (self.clone(), Rc::new(RefCell::new(0)));
            let host = name.clone();
            sim.host(host, move || {
                *starts.borrow_mut() += 1;
                let id = match hosts.scenario.same_names {
                    true => name.clone(),
                    false => format!("{name}.{}", starts.borrow()),
                };
                hosts.clone().actor(name.clone(), id)
            });
        }
        if self.scenario.ghost {
            let (hosts, recorder) = (self.clone(), recorder.clone());
            sim.host("ghost", move || {
                let (hosts, recorder) = (hosts.clone(), recorder.clone());
                async move { ghost::haunt((*hosts.scenario).clone(), hosts.run, hosts.links, recorder).await }
            });
        }
    }

    pub(crate) fn add_learner(&self, sim: &mut Sim<'_>, name: &'static str) {
        let hosts = self.clone();
        sim.host(name, move || hosts.clone().learner(name));
    }

    async fn learner(self, name: &'static str) -> turmoil::Result {
        self.ended.borrow_mut().starts += 1;
        let inputs = SimulatedInputs {
            run_id: self.run,
            run_seed: self.scenario.seed,
            settings: self.scenario.actor.deciding(),
            catalogue: self.catalogue,
            store: self.store,
            authorizer: Arc::new(AllowNetwork),
            adapters: SimulatedAdapters::Drawn(self.scenario.adapter_bytes),
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
        self.ended.borrow_mut().at_work.insert(name.clone());
        let expected = ExpectedRun {
            id: self.run.clone(),
            versions: self.scenario.learner.versions,
        };
        let inputs = SimulatedActorInputs {
            actor_id: ActorId::new(id)?,
            learner_url: format!("http://learner:{PORT}"),
            network: Arc::new(self.links.clone()),
            begin,
            delay: Duration::ZERO,
            timed: Arc::default(),
            sampling: SimulatedSampling::Pause(self.scenario.generate),
            authorizer: Arc::new(AllowNetwork),
            looks_in: Some((self.store.clone(), expected)),
        };
        let served = Served {
            incoming: listen().await?,
            port: PORT,
        };
        let ended = actor::run_simulated(self.scenario.actor.clone(), inputs, Some(served), stop).await;
        let ended = ended.map(|(summary, _)| summary);
        let mut all = self.ended.borrow_mut();
        all.at_work.remove(&name);
        all.actors.push((name, ended));
        Ok(())
    }
}

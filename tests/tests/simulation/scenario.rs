//! What happens in a simulation, drawn from its seed: how large the run is, how fast everything is, what breaks when.

use crate::bad_relay::BadRelay;
use actor::ActorConfig;
use learner::{LearnerConfig, RetiredPairs};
use models::lora::LoraConfig;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// When the first fault may come, and the last, in milliseconds of simulated time.
const FAULTS_WITHIN_MS: std::ops::Range<u64> = 300..30_000;

/// One simulation.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) learner: LearnerConfig,
    pub(crate) actor: ActorConfig,
    pub(crate) actors: usize,
    /// How long training a version takes.
    pub(crate) step: Duration,
    /// How long a lease's completions take.
    pub(crate) generate: Duration,
    pub(crate) adapter_bytes: usize,
    /// The longest time that a message takes.
    pub(crate) latency: Duration,
    /// The share of connections that break in the middle.
    pub(crate) broken_links: f64,
    /// Of the requests on most connections, those that are sent twice, held back, or whose streams are cut at one end.
    pub(crate) meddled: f64,
    /// Whether an actor that is started again has the same name in the run.
    pub(crate) same_names: bool,
    /// Whether somebody is there who submits late, twice, and for starts that are over.
    pub(crate) ghost: bool,
    /// Who takes a place among the relays and is of no use there.
    pub(crate) bad_relay: Option<BadRelay>,
    /// In the order of their times.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

/// What breaks. Hosts go by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A process dies and is started again.
    Crash { host: String, down: Duration },
    /// An actor is asked to stop, and another is started in its place.
    Drain { host: String, down: Duration },
    /// Nothing goes between two hosts.
    Partition { between: [String; 2], lasts: Duration },
    /// Nothing goes from one to the other.
    OneWay { between: [String; 2], lasts: Duration },
    /// What is sent between two hosts arrives later, all at once.
    Hold { between: [String; 2], lasts: Duration },
    /// What is sent between two hosts takes this long.
    Slow {
        between: [String; 2],
        latency: Duration,
        lasts: Duration,
    },
    /// A second learner is started on the run.
    Usurper,
}

impl Scenario {
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        let actors = draws.random_range(1..=4);
        let deterministic = draws.random_bool(0.4);
        let relay = draws.random_bool(0.6);
        let learner = LearnerConfig {
            versions: draws.random_range(3..=9),
            pairs_per_version: draws.random_range(2..=9),
            minibatch_pairs: 1,
            max_staleness: draws.random_range(0..=3),
            deterministic,
            max_tasks_per_pair: 1_000,
            lease_ttl_ms: draws.random_range(2_000..6_000),
            lease_grace_ms: draws.random_range(0..1_000),
            max_attempts: 50,
            ledger_flush_ms: draws.random_range(1..60),
            checkpoint_every: draws.random_range(1..=3),
            keep_checkpoints: draws.random_range(1..=3),
            retired_pairs: match draws.random_bool(0.5) {
                true => RetiredPairs::Train,
                false => RetiredPairs::Refuse,
            },
            relay_branches: match relay {
                true => draws.random_range(1..=2),
                false => 0,
            },
            linger_ms: 3_000,
            drain_ms: 1_000,
            lora: LoraConfig::new(1, 1.0),
            ..LearnerConfig::default()
        };
        let actor = ActorConfig {
            group_size: 2,
            max_new_tokens: 4,
            tasks_per_lease: draws.random_range(1..=4),
            learner_timeout_s: 300.0,
            request_timeout_s: 5.0,
            drain_timeout_s: 2.0,
            ..ActorConfig::default()
        };
        let mut scenario = Self {
            seed,
            learner,
            actor,
            actors,
            step: Duration::from_millis(draws.random_range(50..1_500)),
            generate: Duration::from_millis(draws.random_range(100..1_800)),
            adapter_bytes: draws.random_range(100..40_000),
            latency: Duration::from_millis(draws.random_range(5..120)),
            broken_links: match draws.random_bool(0.5) {
                true => draws.random_range(0.05..0.5),
                false => 0.0,
            },
            meddled: 0.0,
            same_names: false,
            ghost: draws.random_bool(0.5),
            bad_relay: None,
            faults: vec![],
        };
        if relay && draws.random_bool(0.5) {
            let kinds = BadRelay::ALL;
            scenario.bad_relay = Some(kinds[draws.random_range(0..kinds.len())]);
        }
        let count = draws.random_range(0..=12);
        scenario.faults = (0..count).map(|_| scenario.fault(&mut draws)).collect();
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario.same_names = draws.random_bool(0.5);
        if draws.random_bool(0.35) {
            scenario.meddled = draws.random_range(0.02..0.3);
        }
        scenario
    }

    fn fault(&self, draws: &mut ChaCha8Rng) -> (Duration, Fault) {
        let millis = |draws: &mut ChaCha8Rng, range| Duration::from_millis(draws.random_range(range));
        let at = millis(draws, FAULTS_WITHIN_MS);
        let actor = format!("actor-{}", draws.random_range(0..self.actors));
        let (down, lasts) = (millis(draws, 10..4_000), millis(draws, 100..12_000));
        let other = format!("actor-{}", draws.random_range(0..self.actors));
        let between = match draws.random_bool(0.8) || other == actor {
            true => [actor.clone(), "learner".into()],
            false => [actor.clone(), other],
        };
        let fault = match draws.random_range(0..12) {
            0..=2 => Fault::Crash {
                host: "learner".into(),
                down,
            },
            3..=4 => Fault::Crash { host: actor, down },
            5 => Fault::Drain { host: actor, down },
            6..=7 => Fault::Partition { between, lasts },
            8 => Fault::OneWay { between, lasts },
            9 => Fault::Hold { between, lasts },
            10 => Fault::Slow {
                between,
                latency: millis(draws, 100..900),
                lasts,
            },
            _ => Fault::Usurper,
        };
        (at, fault)
    }
}

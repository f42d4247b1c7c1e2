//! Scaling at work on a simulated run: actors that take a while to start, work with noise, come and go, and an autoscaler that does
//! what the figure says. Admission is the learner's own.

use super::*;
use crate::admission::{Admission, Allowance, Situation as Asked};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// How often the run is looked at, and how often the autoscaler asks.
const STEP: Duration = Duration::from_millis(250);
const POLL_S: f64 = 15.0;

const HORIZON_S: f64 = 60.0;
const MOST: usize = 40;

#[derive(Debug, Clone, Copy)]
struct Load {
    /// How long training a version takes.
    train_s: f64,
    /// How long an actor works on a lease of [`Load::tasks`], give or take `noise`.
    lease_s: f64,
    tasks: usize,
    /// The share of tasks that give a pair.
    pairs: f64,
    noise: f64,
    cold_start_s: f64,
    /// How often an actor is taken away, a second.
    departures: f64,
    pairs_per_version: usize,
    max_staleness: u64,
}

impl Load {
    /// Actors that make what training takes.
    fn need(&self) -> f64 {
        let made = self.tasks as f64 * self.pairs / self.lease_s;
        self.pairs_per_version as f64 / self.train_s / made
    }
}

struct Actor {
    id: ActorId,
    /// When its lease ends, and how many tasks it has.
    works: Option<(f64, usize)>,
}

struct Plant {
    load: Load,
    scaling: Scaling,
    admission: Admission,
    random: ChaCha8Rng,
    start: Instant,
    now_s: f64,
    version: u64,
    trained: u64,
    trains_until: Option<f64>,
    fresh: usize,
    actors: Vec<Actor>,
    /// When those that were asked for will join.
    starting: Vec<f64>,
    names: u32,
    starved_s: f64,
}

/// What was seen of a run.
struct Seen {
    /// What was wanted at each step.
    wanted: Vec<usize>,
    /// For how much of the time training waited.
    starved: f64,
}

impl Plant {
    fn new(load: Load, seed: u64, actors: usize) -> Self {
        let config = ScalingConfig {
            max_actors: MOST,
            horizon_s: HORIZON_S,
            cold_start_s: load.cold_start_s,
            ..ScalingConfig::default()
        };
        let admission = Admission {
            pairs_per_version: load.pairs_per_version,
            max_staleness: load.max_staleness,
            versions: 1 << 40,
            deterministic: false,
        };
        Self {
            load,
            scaling: Scaling::new(config, load.pairs_per_version, load.max_staleness == 0),
            admission,
            random: ChaCha8Rng::seed_from_u64(seed),
            start: Instant::now(),
            now_s: 0.0,
            version: 0,
            trained: 0,
            trains_until: None,
            fresh: 0,
            actors: vec![],
            starting: vec![0.0; actors],
            names: 0,
            starved_s: 0.0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.now_s)
    }

    /// So many horizons of the run.
    fn run(&mut self, horizons: f64) -> Seen {
        let (end, starved) = (self.now_s + horizons * HORIZON_S, self.starved_s);
        let mut wanted = vec![];
        while self.now_s < end {
            wanted.push(self.step());
        }
        Seen {
            wanted,
            starved: (self.starved_s - starved) / (horizons * HORIZON_S),
        }
    }

    /// Until two versions have been trained, before which nobody knows how fast training is, and so many horizons more.
    fn settle(&mut self, horizons: f64) {
        while self.version < 2 {
            self.step();
        }
        self.run(horizons);
    }

    fn step(&mut self) -> usize {
        self.now_s += STEP.as_secs_f64();
        self.train();
        self.join();
        self.leave();
        self.work();
        let asked = self.asked();
        let situation = Situation {
            trained: self.trained,
            training: asked.training,
            fresh: self.fresh,
            open: asked.open,
            present: self.actors.len(),
            leasable: !matches!(self.admission.allow(&asked, 1), Allowance::Wait(_)),
            more_to_come: true,
            over: false,
        };
        let scale = self.scaling.look(self.now(), &situation);
        assert!(scale.active || (asked.open == 0 && asked.training));
        if self.now_s % POLL_S < STEP.as_secs_f64() {
            self.scale_to(scale.wanted);
        }
        scale.wanted
    }

    fn asked(&self) -> Asked {
        Asked {
            version: self.version,
            training: self.trains_until.is_some(),
            fresh: self.fresh,
            open: self
                .actors
                .iter()
                .filter_map(|actor| actor.works)
                .map(|(_, tasks)| tasks)
                .sum(),
            behaviour: self.version,
        }
    }

    fn train(&mut self) {
        if self.trains_until.is_some_and(|until| until <= self.now_s) {
            self.trains_until = None;
            self.version += 1;
            self.trained += self.load.pairs_per_version as u64;
        }
        if self.trains_until.is_none() && self.fresh >= self.load.pairs_per_version {
            self.fresh -= self.load.pairs_per_version;
            self.trains_until = Some(self.now_s + self.load.train_s);
        }
        if self.trains_until.is_none() {
            self.starved_s += STEP.as_secs_f64();
        }
    }

    fn join(&mut self) {
        let (now_s, now) = (self.now_s, self.now());
        let before = self.starting.len();
        self.starting.retain(|&at| at > now_s);
        for _ in self.starting.len()..before {
            let id = ActorId::new(format!("a{}", self.names)).unwrap();
            self.names += 1;
            self.scaling.joined(&id, now);
            self.actors.push(Actor { id, works: None });
        }
    }

    /// Some are taken away; whoever ran them starts others.
    fn leave(&mut self) {
        let chance = self.load.departures * STEP.as_secs_f64();
        for place in (0..self.actors.len()).rev() {
            if self.random.random::<f64>() < chance {
                self.stop(place);
                self.starting.push(self.now_s + self.load.cold_start_s);
            }
        }
    }

    fn stop(&mut self, place: usize) {
        let actor = self.actors.remove(place);
        self.scaling.paused(&actor.id);
    }

    fn work(&mut self) {
        for place in 0..self.actors.len() {
            let Some((until, tasks)) = self.actors[place].works else {
                self.lease(place);
                continue;
            };
            if until > self.now_s {
                continue;
            }
            for _ in 0..tasks {
                let is_pair = self.random.random::<f64>() < self.load.pairs;
                self.fresh += usize::from(is_pair);
                let work = if is_pair { Work::Pair } else { Work::NoPair };
                let now = self.now();
                self.scaling.ended(&self.actors[place].id, work, now);
            }
            self.actors[place].works = None;
            self.lease(place);
        }
    }

    fn lease(&mut self, place: usize) {
        let (now, id) = (self.now(), self.actors[place].id.clone());
        match self.admission.allow(&self.asked(), self.load.tasks) {
            Allowance::Tasks(tasks) => {
                self.scaling.leased(&id, now);
                let noise = 1.0 + self.load.noise * (2.0 * self.random.random::<f64>() - 1.0);
                let share = tasks as f64 / self.load.tasks as f64;
                self.actors[place].works = Some((self.now_s + self.load.lease_s * share * noise, tasks));
            }
            _ => self.scaling.paused(&id),
        }
    }

    /// Does what the figure says: who is too many is stopped at once, who is missing comes after a cold start.
    fn scale_to(&mut self, wanted: usize) {
        while self.actors.len() + self.starting.len() > wanted && self.starting.pop().is_some() {}
        while self.actors.len() > wanted {
            self.stop(self.actors.len() - 1);
        }
        for _ in self.actors.len() + self.starting.len()..wanted {
            self.starting.push(self.now_s + self.load.cold_start_s);
        }
    }
}

/// The most changes of direction within any horizon.
fn reversals(wanted: &[usize]) -> usize {
    let changes = wanted.windows(2).enumerate();
    let changes = changes.filter(|(_, pair)| pair[0] != pair[1]);
    let changes: Vec<(usize, bool)> = changes.map(|(at, pair)| (at, pair[1] > pair[0])).collect();
    let turns: Vec<usize> = changes
        .windows(2)
        .filter(|pair| pair[0].1 != pair[1].1)
        .map(|pair| pair[1].0)
        .collect();
    let horizon = (HORIZON_S / STEP.as_secs_f64()) as usize;
    let within = |&from: &usize| {
        turns
            .iter()
            .filter(|&&at| at >= from && at < from + horizon)
            .count()
    };
    turns.iter().map(within).max().unwrap_or(0)
}

fn load() -> impl Strategy<Value = Load> {
    let times = (2.0..12.0_f64, 2.0..15.0_f64, 0.0..50.0_f64);
    let work = (4_usize..17, 0.4..1.0_f64, 0.0..0.4_f64);
    (times, work, 2_usize..5, 0_u64..3, prop::bool::ANY).prop_map(
        |((lease_s, need, cold_start_s), (tasks, pairs, noise), leases, max_staleness, departs)| {
            // A batch has work for all actors some times over, else no number of them would keep up.
            let pairs_per_version = (tasks as f64 * need).ceil() as usize * leases;
            let train_s = pairs_per_version as f64 * lease_s / (need * tasks as f64 * pairs);
            Load {
                train_s,
                lease_s,
                tasks,
                pairs,
                noise,
                cold_start_s,
                departures: if departs { 1.0 / 900.0 } else { 0.0 },
                pairs_per_version,
                max_staleness,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn at_constant_load_what_is_wanted_is_right_and_turns_at_most_once_a_horizon(
        load in load(), seed: u64, actors in 1_usize..20
    ) {
        let mut plant = Plant::new(load, seed, actors);
        plant.settle(8.0);
        let seen = plant.run(25.0);
        prop_assert!(reversals(&seen.wanted) <= 1, "{} turns", reversals(&seen.wanted));
        let mean = seen.wanted.iter().sum::<usize>() as f64 / seen.wanted.len() as f64;
        let need = load.need();
        prop_assert!(
            (0.8 * need..=1.4 * need + 1.5).contains(&mean),
            "{mean} wanted where {need} are needed"
        );
        prop_assert!(seen.wanted.iter().all(|wanted| (1..=MOST).contains(wanted)));
        if load.max_staleness > 0 {
            prop_assert!(seen.starved < 0.35, "training waited {} of the time", seen.starved);
        }
    }

    #[test]
    fn a_step_of_the_load_is_followed_within_some_horizons_and_never_beyond_the_bound(
        load in load(), seed: u64, slower in 1.5..8.0_f64
    ) {
        let mut plant = Plant::new(load, seed, 4);
        plant.settle(8.0);
        plant.load.lease_s *= slower;
        // Measuring takes some leases: longer ones now, and those are still under way when leases are short again.
        let patience = 8.0 + 3.0 * plant.load.lease_s / HORIZON_S;
        let seen = plant.run(patience);
        let need = plant.load.need().min(MOST as f64);
        let last = *seen.wanted.last().unwrap();
        prop_assert!(last as f64 >= 0.8 * need, "{last} wanted where {need} are needed");
        prop_assert!(seen.wanted.iter().all(|wanted| (1..=MOST).contains(wanted)));
        plant.load.lease_s /= slower;
        // Fewer are wanted a step a horizon, and each step is to the most that were needed in its horizon.
        let seen = plant.run(2.0 * patience);
        let (last, need) = (*seen.wanted.last().unwrap(), plant.load.need());
        prop_assert!(last as f64 <= 1.5 * need + 2.0, "{last} wanted where {need} are needed");
    }
}

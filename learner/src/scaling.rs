//! How many actors a run could use, from what its learner consumes and what one actor makes. Pure: the time is an argument.
//!
//! `need = (consumed + deficit / horizon) / pairs of an actor`, all rates in pairs a second: so many actors keep up with training and
//! make up for what is missing within the horizon. `consumed` is measured while training has its pairs, so a learner that starves asks
//! for what it could take, not for what it gets; the pairs of an actor are measured while it works. The deficit is what of the next
//! batch should be there by now and is neither there nor being sampled. What is wanted follows the need slowly (`steady.rs`).
//!
//! Nobody is started here: docs/scaling.md says who reads the figure.

mod rate;
mod steady;
mod training;
mod work;

pub(crate) use work::Work;

use crate::config::ScalingConfig;
use common::ActorId;
use std::time::{Duration, Instant};
use steady::{Rules, Steady};
use training::TrainingLog;
use work::WorkLog;

/// Where a run stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Situation {
    /// Pairs that published versions were trained from.
    pub(crate) trained: u64,
    /// Whether the next version is being trained.
    pub(crate) training: bool,
    /// Pairs that wait to be trained.
    pub(crate) fresh: usize,
    /// Tasks that are leased.
    pub(crate) open: usize,
    /// Actors that take part.
    pub(crate) present: usize,
    /// Whether an actor that asks now would get tasks.
    pub(crate) leasable: bool,
    /// Whether any task will be leased after those that are.
    pub(crate) more_to_come: bool,
    /// Whether the run is complete, or has failed.
    pub(crate) over: bool,
}

/// How many actors a run has and could use, and from what that follows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scale {
    /// Actors that the run could use; 0 only when it is over.
    pub wanted: usize,
    /// Actors that take part: heard from lately and not in quarantine.
    pub present: usize,
    /// Whether any actor will be of use before one that is started now would be. Else the run can do without actors for longer than a
    /// cold start takes.
    pub active: bool,
    /// Pairs a second that training takes when it has them; `None` before the first version.
    pub consumed_pairs_per_s: Option<f64>,
    /// Pairs a second of one actor at work; `None` before the first pair.
    pub pairs_per_s_per_actor: Option<f64>,
    /// Pairs of the next batch that should be there by now and are neither there nor being sampled.
    pub deficit_pairs: f64,
    /// From an actor's start to its first outcome.
    pub cold_start: Duration,
}

impl Scale {
    /// Of a run that nobody has looked at yet: somebody has to begin.
    pub(crate) fn at_first(config: &ScalingConfig) -> Self {
        Self {
            wanted: config.min_actors,
            active: true,
            cold_start: config.cold_start(),
            ..Self::default()
        }
    }
}

/// The measurements of a run, and what follows from them.
#[derive(Debug)]
pub(crate) struct Scaling {
    config: ScalingConfig,
    pairs_per_version: f64,
    /// Whether nothing is sampled while a version is trained.
    on_policy: bool,
    training: TrainingLog,
    work: WorkLog,
    steady: Steady,
    present: usize,
}

impl Scaling {
    /// Of a run that has just begun.
    pub(crate) fn new(config: ScalingConfig, pairs_per_version: usize, on_policy: bool) -> Self {
        Self {
            config,
            pairs_per_version: pairs_per_version as f64,
            on_policy,
            training: TrainingLog::default(),
            work: WorkLog::default(),
            steady: Steady::default(),
            present: 0,
        }
    }

    /// An actor has joined.
    pub(crate) fn joined(&mut self, actor: &ActorId, now: Instant) {
        self.work.joined(actor, now);
    }

    /// An actor was given tasks.
    pub(crate) fn leased(&mut self, actor: &ActorId, now: Instant) {
        self.work.leased(actor, now);
    }

    /// An actor got no tasks, or no longer has those it had.
    pub(crate) fn paused(&mut self, actor: &ActorId) {
        self.work.paused(actor);
    }

    /// An actor's outcome came.
    pub(crate) fn ended(&mut self, actor: &ActorId, work: Work, now: Instant) {
        // All actors together remember a horizon.
        let memory = self.horizon().saturating_mul(self.present.max(1) as u32);
        self.work.ended(actor, work, now, memory);
    }

    /// What follows from where the run stands now. Asked often: what training does is seen in passing.
    pub(crate) fn look(&mut self, now: Instant, situation: &Situation) -> Scale {
        let horizon = self.horizon();
        self.present = situation.present;
        self.training.look(now, situation, horizon);
        let due = self.training.due(now, self.pairs_per_version, self.on_policy);
        // As for admission, every open lease counts as a pair: else work in hand would be done twice.
        let deficit = (due - (situation.fresh + situation.open) as f64).max(0.0);
        let (consumed, made) = (self.training.pairs_per_s(), self.work.pairs_per_s());
        let rules = Rules {
            min: self.config.min_actors,
            max: self.config.max_actors,
            horizon,
            band: self.config.hysteresis,
        };
        let wanted = match (consumed, made) {
            (Some(consumed), Some(made)) => {
                let need = (consumed + deficit / horizon.as_secs_f64()) / made;
                self.steady.settle(need, now, &rules)
            }
            _ => self.steady.keep(situation.present, &rules),
        };
        Scale {
            wanted: if situation.over { 0 } else { wanted },
            present: situation.present,
            active: !self.can_do_without(now, situation),
            consumed_pairs_per_s: consumed,
            pairs_per_s_per_actor: made,
            deficit_pairs: deficit,
            cold_start: self.cold_start(),
        }
    }

    /// Whether no actor is of use for longer than one takes to start.
    fn can_do_without(&self, now: Instant, situation: &Situation) -> bool {
        if situation.over {
            return true;
        }
        if situation.open > 0 || situation.leasable || !situation.training {
            return false;
        }
        let remaining = self.training.remaining(now, self.pairs_per_version);
        !situation.more_to_come || remaining.is_some_and(|remaining| remaining > self.cold_start())
    }

    fn cold_start(&self) -> Duration {
        let measured = self.work.cold_start().unwrap_or_default();
        self.config.cold_start().max(measured)
    }

    /// Nothing that is changed shows before a cold start is over.
    fn horizon(&self) -> Duration {
        self.config.horizon().max(self.cold_start())
    }
}

#[cfg(test)]
mod plant;
#[cfg(test)]
mod tests;

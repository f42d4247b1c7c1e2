//! How many pairs an actor makes in a second of work, and how long one takes from its Join to its first outcome.
//!
//! Only work counts. An actor that was told to wait says nothing of what it can do, nor does one that handed tasks back, let them run
//! out, or failed them for want of a reward-server: more actors would not help there. The time from an outcome to the next lease
//! counts when that lease was given at once.

use super::rate::Rate;
use crate::actors::MOST;
use common::{ActorId, RolloutOutcome};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// After so long without a word an actor is forgotten when there is no room for another.
const SILENCE: Duration = Duration::from_secs(600);

/// Cold starts that are remembered.
const COLD_STARTS: usize = 16;

/// What an outcome says of its actor's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// It made a pair.
    Pair,
    /// It did the work, and no pair came of it.
    NoPair,
    /// It says nothing: the work could not be done.
    Nothing,
}

impl Work {
    /// What an outcome says, if it is recorded. A failure is no work, also when it is the task's last.
    pub(crate) fn of(outcome: &RolloutOutcome) -> Self {
        match outcome {
            RolloutOutcome::Pair(_) => Self::Pair,
            RolloutOutcome::NoPair { .. } => Self::NoPair,
            RolloutOutcome::Failed { .. } => Self::Nothing,
        }
    }
}

/// What is being measured of one actor.
#[derive(Debug)]
struct Worker {
    heard: Instant,
    /// When it joined; until its first outcome, or until it had to wait before that.
    joined: Option<Instant>,
    /// Since when it works without a break.
    since: Option<Instant>,
}

/// The actors' work. That of further ones than [`MOST`] is not measured.
#[derive(Debug, Default)]
pub(super) struct WorkLog {
    workers: HashMap<ActorId, Worker>,
    pairs: Rate,
    cold_starts: VecDeque<Duration>,
}

impl WorkLog {
    /// An actor has joined the run.
    pub(super) fn joined(&mut self, actor: &ActorId, now: Instant) {
        if let Some(worker) = self.worker(actor, now) {
            (worker.joined, worker.since) = (Some(now), None);
        }
    }

    /// An actor was given tasks.
    pub(super) fn leased(&mut self, actor: &ActorId, now: Instant) {
        if let Some(worker) = self.worker(actor, now) {
            worker.since.get_or_insert(now);
        }
    }

    /// An actor got no tasks, or no longer has them.
    pub(super) fn paused(&mut self, actor: &ActorId) {
        if let Some(worker) = self.workers.get_mut(actor) {
            (worker.joined, worker.since) = (None, None);
        }
    }

    /// An outcome came from an actor that worked since its last one, or its lease. `memory` is that of one actor at work.
    pub(super) fn ended(&mut self, actor: &ActorId, work: Work, now: Instant, memory: Duration) {
        let Some(worker) = self.worker(actor, now) else {
            return;
        };
        let (since, joined) = (worker.since.replace(now), worker.joined.take());
        if work == Work::Nothing {
            return;
        }
        if let Some(joined) = joined {
            self.cold_starts.truncate(COLD_STARTS - 1);
            self.cold_starts.push_front(now.saturating_duration_since(joined));
        }
        if let Some(since) = since {
            let pairs = f64::from(u8::from(work == Work::Pair));
            self.pairs
                .observe(pairs, now.saturating_duration_since(since), memory);
        }
    }

    /// Pairs of one actor in a second of work; `None` before the first one.
    pub(super) fn pairs_per_s(&self) -> Option<f64> {
        self.pairs.per_second()
    }

    /// The longest cold start of late; `None` before the first one.
    pub(super) fn cold_start(&self) -> Option<Duration> {
        self.cold_starts.iter().max().copied()
    }

    fn worker(&mut self, actor: &ActorId, now: Instant) -> Option<&mut Worker> {
        if self.workers.len() >= MOST && !self.workers.contains_key(actor) {
            self.workers
                .retain(|_, worker| now.saturating_duration_since(worker.heard) < SILENCE);
            if self.workers.len() >= MOST {
                return None;
            }
        }
        let fresh = || Worker {
            heard: now,
            joined: None,
            since: None,
        };
        let worker = self.workers.entry(actor.clone()).or_insert_with(fresh);
        worker.heard = now;
        Some(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(100);

    fn actor(name: &str) -> ActorId {
        ActorId::new(name).unwrap()
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn only_work_is_counted_and_a_lease_given_at_once_goes_on_with_it() {
        let (mut log, a, start) = (WorkLog::default(), actor("a"), Instant::now());
        log.leased(&a, start);
        log.ended(&a, Work::Pair, after(start, 10), MEMORY);
        log.ended(&a, Work::Pair, after(start, 10), MEMORY);
        assert_eq!(log.pairs_per_s(), Some(0.2));
        // It waits for a minute, then works for ten seconds again.
        log.paused(&a);
        log.leased(&a, after(start, 70));
        log.ended(&a, Work::Pair, after(start, 80), MEMORY);
        log.ended(&a, Work::Pair, after(start, 80), MEMORY);
        assert!((log.pairs_per_s().unwrap() - 0.2).abs() < 1e-9);
        // Two seconds without tasks that were not asked for in vain, eight of work.
        log.leased(&a, after(start, 82));
        log.ended(&a, Work::NoPair, after(start, 90), MEMORY);
        let found = log.pairs_per_s().unwrap();
        assert!((0.12..0.14).contains(&found), "{found}");
    }

    #[test]
    fn failures_say_nothing_of_an_actors_pace() {
        let (mut log, a, start) = (WorkLog::default(), actor("a"), Instant::now());
        log.leased(&a, start);
        log.ended(&a, Work::Pair, after(start, 5), MEMORY);
        let before = log.pairs_per_s();
        log.leased(&a, after(start, 5));
        log.ended(&a, Work::Nothing, after(start, 50), MEMORY);
        assert_eq!(log.pairs_per_s(), before);
    }

    #[test]
    fn an_actor_that_fails_at_first_says_nothing_of_a_cold_start() {
        let (mut log, a, start) = (WorkLog::default(), actor("a"), Instant::now());
        log.joined(&a, start);
        log.leased(&a, after(start, 3));
        // The reward-server is away for half an hour.
        log.ended(&a, Work::Nothing, after(start, 9), MEMORY);
        log.ended(&a, Work::Pair, after(start, 1800), MEMORY);
        assert_eq!(log.cold_start(), None);
    }

    #[test]
    fn a_cold_start_is_measured_once_and_not_where_the_actor_had_to_wait() {
        let (mut log, start) = (WorkLog::default(), Instant::now());
        for (name, waits) in [("a", false), ("b", true)] {
            let name = actor(name);
            log.joined(&name, start);
            if waits {
                log.paused(&name);
            }
            log.leased(&name, after(start, 3));
            log.ended(
                &name,
                Work::Pair,
                after(start, if waits { 90 } else { 9 }),
                MEMORY,
            );
        }
        assert_eq!(log.cold_start(), Some(Duration::from_secs(9)));
        log.leased(&actor("a"), after(start, 9));
        log.ended(&actor("a"), Work::Pair, after(start, 500), MEMORY);
        assert_eq!(log.cold_start(), Some(Duration::from_secs(9)));
    }

    #[test]
    fn made_up_names_cost_no_more_memory_than_the_bound() {
        let (mut log, start) = (WorkLog::default(), Instant::now());
        for number in 0..MOST + 10 {
            log.joined(&actor(&format!("a{number}")), start);
        }
        assert_eq!(log.workers.len(), MOST);
        log.joined(&actor("late"), start + SILENCE);
        assert_eq!(log.workers.len(), 1);
    }
}

//! How fast things happen, from counters that are looked at now and then.

use crate::view::Overview;
use common::ActorId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// What a rate is the mean over.
const WINDOW: Duration = Duration::from_secs(60);

/// How far apart looks are that are kept.
const APART: Duration = Duration::from_secs(2);

/// Actors whose rates are kept: more than a page shows.
const MOST_ACTORS: usize = 512;

/// The looks of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    looks: VecDeque<Look>,
}

#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    recorded: u64,
    actors: BTreeMap<ActorId, u64>,
}

/// How many outcomes a minute there were.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PerMinute {
    /// Recorded; `None` before there were two looks.
    pub(crate) recorded: Option<f64>,
    /// Submitted by each actor.
    pub(crate) actors: BTreeMap<ActorId, f64>,
}

impl Rates {
    /// Looks at a run.
    pub(crate) fn look(&mut self, run: &Overview, at: Instant) -> PerMinute {
        let actors = run
            .actors
            .iter()
            .take(MOST_ACTORS)
            .map(|actor| (actor.id.clone(), actor.outcomes));
        let look = Look {
            at,
            recorded: run.recorded,
            actors: actors.collect(),
        };
        while self.looks.len() > 1 && at.duration_since(self.looks[1].at) >= WINDOW {
            self.looks.pop_front();
        }
        let rates = self
            .looks
            .front()
            .map(|first| since(first, &look))
            .unwrap_or_default();
        if self
            .looks
            .back()
            .is_none_or(|last| at.duration_since(last.at) >= APART)
        {
            self.looks.push_back(look);
        }
        rates
    }
}

fn since(first: &Look, now: &Look) -> PerMinute {
    let minutes = now.at.duration_since(first.at).as_secs_f64() / 60.0;
    if minutes <= 0.0 {
        return PerMinute::default();
    }
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / minutes;
    let of_actor = |(actor, &outcomes): (&ActorId, &u64)| {
        // One that was not there had submitted nothing, unless there were more than are kept.
        let all_were_kept = first.actors.len() < MOST_ACTORS;
        let then = first.actors.get(actor).copied().or(all_were_kept.then_some(0))?;
        Some((actor.clone(), rate(outcomes, then)))
    };
    PerMinute {
        recorded: Some(rate(now.recorded, first.recorded)),
        actors: now.actors.iter().filter_map(of_actor).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_run::overview;

    #[test]
    fn a_rate_is_that_of_the_last_minute_and_looking_often_takes_no_memory() {
        let (mut rates, begin) = (Rates::default(), Instant::now());
        let mut run = overview();
        let mut last = PerMinute::default();
        assert_eq!(rates.look(&run, begin).recorded, None);
        for tenth in 1..3100u64 {
            // Ten a second for four minutes, then nothing.
            let done = tenth.min(2400);
            run.recorded = done;
            run.actors[0].outcomes = done / 2;
            last = rates.look(&run, begin + Duration::from_millis(100 * tenth));
            if tenth == 2400 {
                assert!((last.recorded.unwrap() - 600.0).abs() < 1.0, "{last:?}");
                assert!((last.actors[&run.actors[0].id] - 300.0).abs() < 1.0);
            }
        }
        assert!(rates.looks.len() < 40, "{}", rates.looks.len());
        assert!(last.recorded.unwrap() < 10.0, "{last:?}");
    }
}

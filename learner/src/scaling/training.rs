//! How fast training takes pairs when they are there, and how far sampling is behind it.

use super::{Situation, rate::Rate};
use std::time::{Duration, Instant};

/// The training's pace, from what is seen of it in passing.
#[derive(Debug, Default)]
pub(super) struct TrainingLog {
    consumed: Rate,
    /// Pairs trained when it was last looked at, and when that was.
    seen: Option<(u64, Instant)>,
    /// Since when the next version is trained.
    trains: Option<Instant>,
    /// Since when training waits for pairs.
    waits: Option<Instant>,
}

impl TrainingLog {
    /// Where the run stands now.
    pub(super) fn look(&mut self, now: Instant, situation: &Situation, memory: Duration) {
        let (trained, last) = self.seen.unwrap_or((situation.trained, now));
        let more = situation.trained.saturating_sub(trained);
        if more > 0 {
            // Who was never seen training has trained since the last look.
            let began = self.trains.take().unwrap_or(last);
            let took = now.saturating_duration_since(began);
            self.consumed.observe(more as f64, took, memory);
        }
        self.seen = Some((situation.trained, now));
        match situation.training {
            true => {
                self.trains.get_or_insert(now);
                self.waits = None;
            }
            false => {
                self.trains = None;
                self.waits.get_or_insert(now);
            }
        }
    }

    /// Pairs a second that are trained while anything is; `None` before the first version.
    pub(super) fn pairs_per_s(&self) -> Option<f64> {
        self.consumed.per_second()
    }

    /// How long the version in training will still take; `None` when none is, or it is not known.
    pub(super) fn remaining(&self, now: Instant, pairs_per_version: f64) -> Option<Duration> {
        let began = self.trains?;
        let whole = Duration::try_from_secs_f64(pairs_per_version / self.pairs_per_s()?).ok()?;
        Some(whole.saturating_sub(now.saturating_duration_since(began)))
    }

    /// Pairs of the next batch that should be there by now, if sampling it took as long as training one: it begins with the training of
    /// the batch before, on-policy when that has ended.
    pub(super) fn due(&self, now: Instant, pairs_per_version: f64, on_policy: bool) -> f64 {
        let began = match (on_policy, self.trains, self.waits) {
            (true, Some(_), _) => return 0.0,
            (true, None, Some(since)) => since,
            (false, Some(since), _) => since,
            _ => return pairs_per_version,
        };
        let passed = now.saturating_duration_since(began).as_secs_f64();
        let pace = self.pairs_per_s().unwrap_or(0.0);
        (passed * pace).min(pairs_per_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(60);

    fn at(trained: u64, training: bool) -> Situation {
        Situation {
            trained,
            training,
            ..Situation::default()
        }
    }

    #[test]
    fn waiting_for_pairs_does_not_slow_the_pace() {
        let (mut log, start) = (TrainingLog::default(), Instant::now());
        let second = |seconds| start + Duration::from_secs(seconds);
        log.look(start, &at(0, true), MEMORY);
        log.look(second(10), &at(80, false), MEMORY);
        assert_eq!(log.pairs_per_s(), Some(8.0));
        log.look(second(300), &at(80, true), MEMORY);
        log.look(second(310), &at(160, true), MEMORY);
        assert_eq!(log.pairs_per_s(), Some(8.0));
        assert_eq!(log.remaining(second(314), 80.0), Some(Duration::from_secs(6)));
    }

    #[test]
    fn what_trains_faster_than_it_is_looked_at_has_a_pace_too() {
        let (mut log, start) = (TrainingLog::default(), Instant::now());
        log.look(start, &at(0, false), MEMORY);
        log.look(start + Duration::from_millis(50), &at(4, false), MEMORY);
        assert!((log.pairs_per_s().unwrap() - 80.0).abs() < 1e-6);
    }

    #[test]
    fn pairs_fall_due_while_they_can_be_sampled() {
        let (mut log, start) = (TrainingLog::default(), Instant::now());
        let second = |seconds| start + Duration::from_secs(seconds);
        log.look(start, &at(0, true), MEMORY);
        log.look(second(10), &at(80, true), MEMORY);
        assert_eq!(log.due(second(15), 80.0, false), 40.0);
        assert_eq!(log.due(second(15), 80.0, true), 0.0);
        log.look(second(20), &at(160, false), MEMORY);
        assert_eq!(log.due(second(22), 80.0, false), 80.0);
        assert_eq!(log.due(second(22), 80.0, true), 16.0);
    }
}

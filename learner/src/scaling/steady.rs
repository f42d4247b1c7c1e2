//! What is wanted changes rarely: more at once, fewer only when fewer have been enough for a whole horizon. So two changes of
//! direction are at least a horizon apart, whatever the need does.

use std::time::{Duration, Instant};

/// The rules of a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Fewest, at least 1.
    pub(super) min: usize,
    /// Most.
    pub(super) max: usize,
    /// How long fewer must have been enough, and how long after that more may be wanted again.
    pub(super) horizon: Duration,
    /// By which share the need must differ.
    pub(super) band: f64,
}

/// How many are wanted.
#[derive(Debug, Default)]
pub(super) struct Steady {
    wanted: usize,
    /// Since when fewer would do, and the most that were needed since.
    low: Option<(Instant, f64)>,
    /// When fewer were last wanted.
    lowered: Option<Instant>,
}

impl Steady {
    /// Nothing is known of the need: whoever is there stays wanted.
    pub(super) fn keep(&mut self, present: usize, rules: &Rules) -> usize {
        self.wanted = self.wanted.max(present).clamp(rules.min, rules.max);
        self.wanted
    }

    /// `need` actors would be right, fractions too.
    pub(super) fn settle(&mut self, need: f64, now: Instant, rules: &Rules) -> usize {
        let need = need.clamp(rules.min as f64, rules.max as f64);
        // The bounds may be others than before; that is no change of direction of the need.
        self.wanted = self.wanted.clamp(rules.min, rules.max);
        let wanted = self.wanted as f64;
        if need > wanted * (1.0 + rules.band) {
            self.low = None;
            if self
                .lowered
                .is_none_or(|lowered| now.saturating_duration_since(lowered) >= rules.horizon)
            {
                self.wanted = need.ceil() as usize;
            }
        } else if need < (wanted - 1.0) * (1.0 - rules.band) {
            let (since, most) = self
                .low
                .map_or((now, need), |(since, most)| (since, most.max(need)));
            self.low = Some((since, most));
            if now.saturating_duration_since(since) >= rules.horizon {
                self.wanted = most.ceil() as usize;
                (self.low, self.lowered) = (None, Some(now));
            }
        } else {
            self.low = None;
        }
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        min: 1,
        max: 10,
        horizon: Duration::from_secs(60),
        band: 0.1,
    };

    #[test]
    fn more_are_wanted_at_once_and_fewer_after_a_horizon_as_many_as_were_needed_in_it() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        let second = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(steady.keep(2, &RULES), 2);
        assert_eq!(steady.settle(6.4, second(0), &RULES), 7);
        assert_eq!(steady.settle(2.0, second(1), &RULES), 7);
        assert_eq!(steady.settle(3.5, second(30), &RULES), 7);
        assert_eq!(steady.settle(2.0, second(60), &RULES), 7);
        assert_eq!(steady.settle(2.0, second(61), &RULES), 4);
        // Not up again before another horizon is over.
        assert_eq!(steady.settle(9.0, second(70), &RULES), 4);
        assert_eq!(steady.settle(9.0, second(121), &RULES), 9);
    }

    #[test]
    fn what_lies_within_the_band_changes_nothing_and_the_bounds_hold() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        steady.keep(5, &RULES);
        for (second, need) in [5.4, 3.7, 4.9, 5.49].into_iter().enumerate() {
            let now = start + Duration::from_secs(100 * second as u64);
            assert_eq!(steady.settle(need, now, &RULES), 5);
        }
        assert_eq!(steady.settle(f64::MAX, start, &RULES), 10);
        let mut none = Steady::default();
        assert_eq!(none.settle(0.0, start, &RULES), 1);
        assert_eq!(none.keep(99, &RULES), 10);
    }
}

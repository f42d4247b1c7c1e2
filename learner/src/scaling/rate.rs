//! How much of something there is a second, of the recent past: older observations weigh less by the time that was observed since,
//! not by the time that passed. What nobody could observe is forgotten by nobody.

use std::time::Duration;

/// Something per second of observed time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    amount: f64,
    seconds: f64,
}

impl Rate {
    /// So much came in so much time; what was observed before weighs `1 / e` after a time of `memory`.
    pub(super) fn observe(&mut self, amount: f64, time: Duration, memory: Duration) {
        let seconds = time.as_secs_f64();
        let kept = (-seconds / memory.as_secs_f64()).exp();
        self.amount = self.amount * kept + amount;
        self.seconds = self.seconds * kept + seconds;
    }

    /// How much comes a second; `None` before anything has come, and above 0.
    pub(super) fn per_second(&self) -> Option<f64> {
        let rate = self.amount / self.seconds;
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(10);

    #[test]
    fn a_steady_rate_is_found_at_once_and_nothing_is_no_rate() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        rate.observe(0.0, Duration::from_secs(3), MEMORY);
        assert_eq!(rate.per_second(), None);
        let mut steady = Rate::default();
        for _ in 0..20 {
            steady.observe(6.0, Duration::from_secs(2), MEMORY);
            assert!((steady.per_second().unwrap() - 3.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_new_rate_takes_over_within_some_memories() {
        let mut rate = Rate::default();
        rate.observe(100.0, Duration::from_secs(50), MEMORY);
        for _ in 0..3 {
            rate.observe(90.0, MEMORY, MEMORY);
        }
        let found = rate.per_second().unwrap();
        assert!((7.5..9.0).contains(&found), "{found}");
    }
}

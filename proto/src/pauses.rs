//! When a caller asks again whom it does not reach: after pauses that grow, and that are no other caller's, so that those who lost a
//! server together do not come back together.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// The first and the longest pause between two attempts.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// The pauses of one caller between its attempts to reach somebody.
#[derive(Debug, Clone)]
pub struct Pauses {
    pause: Duration,
    first: Duration,
    longest: Duration,
    jitter: ChaCha8Rng,
}

impl Pauses {
    /// Those drawn from a caller's own seed, of 2 s at most.
    pub fn drawn_from(seed: u64) -> Self {
        Self::between(FIRST, LONGEST, seed)
    }

    /// The same of other lengths.
    pub fn between(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            pause: first,
            first,
            longest,
            jitter: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The pause before the next attempt, about twice the one before and at most the longest; or a little longer than whoever is
    /// called asks for.
    pub fn next_pause(&mut self, asked: Option<Duration>) -> Duration {
        let draw: f64 = self.jitter.random();
        let own = self.pause.mul_f64(0.5 + 0.5 * draw);
        self.pause = (self.pause * 2).min(self.longest);
        asked.map_or(own, |asked| own.max(asked.mul_f64(1.0 + 0.25 * draw)))
    }

    /// There was an answer: the next pause is a first one.
    pub fn over(&mut self) {
        self.pause = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_between_callers_and_are_never_shorter_than_is_asked_for() {
        let pauses = |seed| {
            let mut pauses = Pauses::drawn_from(seed);
            (0..8).map(|_| pauses.next_pause(None)).collect::<Vec<_>>()
        };
        let (a, b) = (pauses(1), pauses(2));
        assert!(a == pauses(1) && a != b);
        for (count, pause) in a.iter().chain(&b).enumerate() {
            let longest = (FIRST * (1 << (count % 8))).min(LONGEST);
            assert!((longest / 2..=longest).contains(pause), "{count}: {pause:?}");
        }
        let asked = Duration::from_secs(3);
        let mut pauses = Pauses::drawn_from(1);
        for _ in 0..20 {
            let pause = pauses.next_pause(Some(asked));
            assert!((asked..=asked * 5 / 4).contains(&pause), "{pause:?}");
        }
        pauses.over();
        assert!(pauses.next_pause(None) <= FIRST);
    }
}

//! What may become of a request.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;

/// The longest time that a request or an answer is held back, in milliseconds: longer than its caller waits.
const HELD_MS: u64 = 6_000;

/// The longest time that a stream stays open of which its caller knows nothing, in milliseconds.
const OPEN_MS: u64 = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Passes,
    /// It is held back, and then its answer; and each message of that for a moment.
    Late {
        request: Duration,
        answer: Duration,
        message: Duration,
    },
    /// It is sent once more. One answer counts; the other's stream stays open for a while.
    Twice {
        after: Duration,
        second_counts: bool,
        open: Duration,
    },
    /// Its answer is over after some messages. Whoever sends it does not know for a while.
    Cut { messages: usize, open: Duration },
}

impl Fate {
    pub(super) fn drawn(draws: &mut ChaCha8Rng, share: f64) -> Self {
        if !draws.random_bool(share) {
            return Self::Passes;
        }
        let mut millis = |most| Duration::from_millis(draws.random_range(0..most));
        let (held, open) = (millis(HELD_MS), millis(OPEN_MS));
        match draws.random_range(0..10) {
            0..=1 => Self::Late {
                request: held,
                answer: Duration::ZERO,
                message: Duration::ZERO,
            },
            2..=3 => Self::Late {
                request: Duration::ZERO,
                answer: held,
                message: held / 10,
            },
            4..=6 => Self::Twice {
                after: held / 2,
                second_counts: draws.random_bool(0.5),
                open,
            },
            _ => Self::Cut {
                messages: draws.random_range(0..4),
                open,
            },
        }
    }

    pub(super) fn tell(self, path: &PathAndQuery) {
        let path = path.as_str();
        match self {
            Self::Passes => {}
            Self::Late { .. } => tracing::debug!(target: "simulation", path, fate = ?self, "held back"),
            Self::Twice { .. } => tracing::debug!(target: "simulation", path, fate = ?self, "sent twice"),
            Self::Cut { .. } => tracing::debug!(target: "simulation", path, fate = ?self, "stream cut"),
        }
    }
}

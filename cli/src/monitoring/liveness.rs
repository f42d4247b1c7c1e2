//! What a process says of its health: `""` whether it takes part, `startup` that it runs and its configuration is right, `liveness`
//! that ending it would not help.

use crate::node_cache;
use proto::observe::Pulse;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The service that serves while the role takes part.
pub(super) const READINESS: &str = "";

/// The service that serves from the beginning.
pub(super) const STARTUP: &str = "startup";

/// The service that serves while ending the process would not help.
pub(super) const LIVENESS: &str = "liveness";

/// How often a starting process is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Before anything else is known: the process has started, lives, and does not take part.
pub(super) async fn first_word(reporter: &HealthReporter) {
    reporter.set_service_status(STARTUP, ServingStatus::Serving).await;
    say(reporter, false, true).await;
}

/// Reports for as long as the process runs.
pub(super) async fn report(
    reporter: HealthReporter,
    pulse: Pulse,
    stall: Duration,
    drain: CancellationToken,
) {
    let mut readiness = pulse.readiness();
    let mut progress = Progress::new(stall, Instant::now());
    loop {
        let ready = *readiness.borrow_and_update() && !drain.is_cancelled();
        let done = pulse.beats() + node_cache::brought();
        let lives = progress.lives(ready, done, Instant::now());
        say(&reporter, ready, lives).await;
        tokio::select! {
            _ = readiness.changed() => {}
            () = drain.cancelled(), if ready => {}
            () = sleep(INTERVAL) => {}
        }
    }
}

async fn say(reporter: &HealthReporter, ready: bool, lives: bool) {
    for (service, serves) in [(READINESS, ready), (LIVENESS, lives)] {
        let status = match serves {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        reporter.set_service_status(service, status).await;
    }
}

/// Whether a starting process comes along.
#[derive(Debug)]
struct Progress {
    stall: Duration,
    /// What had been done when it was looked at last, and since when that is so.
    seen: (u64, Instant),
    started: bool,
}

impl Progress {
    fn new(stall: Duration, now: Instant) -> Self {
        Self {
            stall,
            seen: (0, now),
            started: false,
        }
    }

    /// Whether it lives, given what it has done by now. Once it has taken part it does: what happens then, the role itself decides.
    fn lives(&mut self, ready: bool, done: u64, now: Instant) -> bool {
        self.started |= ready;
        if self.seen.0 != done {
            self.seen = (done, now);
        }
        self.started || now.duration_since(self.seen.1) < self.stall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_lives_while_something_comes_and_for_good_once_it_has_taken_part() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut progress = Progress::new(3 * second, start);
        assert!(progress.lives(false, 0, start + 2 * second));
        assert!(
            !progress.lives(false, 0, start + 3 * second),
            "nothing came for as long as is borne"
        );
        assert!(
            progress.lives(false, 1, start + 4 * second),
            "it came along again"
        );
        assert!(progress.lives(false, 1, start + 6 * second));
        assert!(progress.lives(true, 1, start + 60 * second));
        assert!(
            progress.lives(false, 1, start + 600 * second),
            "a draining role lives"
        );
    }
}

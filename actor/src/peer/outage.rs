//! How long a peer's silence is borne, and when it is asked again.

use super::Peer;
use crate::ActorError;
use proto::WireError;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

/// The first and the longest pause between two attempts.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One stretch of time in which a peer has not answered.
pub(crate) struct Outage<'a> {
    peer: &'a Peer,
    /// Since when there has been no answer.
    pub(super) began: Option<Instant>,
    pause: Duration,
    jitter: ChaCha8Rng,
}

impl<'a> Outage<'a> {
    /// Of a peer that has answered until now.
    pub(super) fn of(peer: &'a Peer) -> Self {
        Self {
            peer,
            began: None,
            pause: FIRST_PAUSE,
            jitter: ChaCha8Rng::seed_from_u64(peer.jitter_seed),
        }
    }

    /// The pause before the next attempt: of the second half of the current one, or a little longer than the peer asks for.
    pub(super) fn next_pause(&mut self, asked: Option<Duration>) -> Duration {
        let draw: f64 = self.jitter.random();
        let own = self.pause.mul_f64(0.5 + 0.5 * draw);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        asked.map_or(own, |asked| own.max(asked.mul_f64(1.0 + 0.25 * draw)))
    }

    /// Waits before the next attempt, about twice as long each time, and as long as the peer asks for.
    ///
    /// # Errors
    /// [`ActorError::Refused`] when another attempt would fail the same way; when the patience does not last until then
    /// [`ActorError::Overloaded`] or [`ActorError::Failing`] if that is what the peer said, else [`ActorError::Unreachable`].
    pub(crate) async fn pause(&mut self, status: Status) -> Result<(), ActorError> {
        let (role, url) = (self.peer.role, self.peer.url.to_string());
        let passes = self.peer.failures_pass && status.code() == Code::Internal;
        if !(passes || is_outage(&status)) {
            let (code, message) = (status.code(), status.message().to_owned());
            return Err(ActorError::Refused {
                role,
                url,
                code,
                message,
            });
        }
        let waited = self.began.get_or_insert_with(Instant::now).elapsed();
        let asked = WireError::retry_after(&status);
        let pause = self.next_pause(asked);
        if waited + pause > self.peer.patience {
            return Err(self.peer.given_up(waited, status));
        }
        let (retry_ms, code, message) = (pause.as_millis() as u64, status.code(), status.message());
        match asked {
            Some(_) => tracing::warn!(role, url, message, retry_ms, "waiting: the peer has no room"),
            None => tracing::warn!(
                role,
                url,
                ?code,
                message,
                retry_ms,
                "waiting: the peer does not serve"
            ),
        }
        self.peer.retries.inc();
        sleep(pause).await;
        Ok(())
    }

    /// The peer has done something: the outage is over.
    pub(crate) fn over(&mut self) {
        (self.began, self.pause) = (None, FIRST_PAUSE);
    }
}

/// Whether the same request may be answered later. A request whose deadline passed, or whose connection went away, comes
/// back as cancelled; one that broke in the middle of a frame as internal, with the transport's error behind it, which no answer of
/// a peer has.
fn is_outage(status: &Status) -> bool {
    let broke = status.code() == Code::Internal && std::error::Error::source(status).is_some();
    broke || WireError::is_retryable(status) || status.code() == Code::Cancelled
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_connection_that_broke_is_an_outage_and_an_internal_failure_of_the_peer_is_none() {
        let failure = Status::internal("the run failed");
        assert!(!is_outage(&failure));
        let mut broken = Status::internal("h2 protocol error");
        broken.set_source(Arc::new(std::io::Error::from(
            std::io::ErrorKind::ConnectionReset,
        )));
        assert!(is_outage(&broken));
    }
}

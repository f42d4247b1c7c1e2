//! How long a peer's silence is borne, and when it is asked again.

use super::Peer;
use crate::{ActorError, failure::code};
use proto::{Pauses, WireError, one_line};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

/// One stretch of time in which a peer has not answered.
pub(crate) struct Outage<'a> {
    peer: &'a Peer,
    /// Since when there has been no answer.
    pub(super) began: Option<Instant>,
    pauses: Pauses,
}

impl<'a> Outage<'a> {
    /// Of a peer that has answered until now.
    pub(super) fn of(peer: &'a Peer) -> Self {
        Self {
            peer,
            began: None,
            pauses: Pauses::drawn_from(peer.jitter_seed),
        }
    }

    /// Waits before the next attempt, about twice as long each time, and as long as the peer asks for.
    ///
    /// # Errors
    /// [`ActorError::Refused`] when another attempt would fail the same way; when the patience does not last until then
    /// [`ActorError::Overloaded`] or [`ActorError::Failing`] if that is what the peer said, else
    /// [`ActorError::NoTimeLeft`] or [`ActorError::Unreachable`].
    pub(crate) async fn pause(&mut self, status: Status) -> Result<(), ActorError> {
        let (role, url) = (self.peer.role, self.peer.url.to_string());
        let passes = self.peer.failures_pass && code(&status) == Code::Internal;
        if !(passes || WireError::is_outage(&status)) {
            self.peer.presence.answered();
            let (code, message) = (status.code(), one_line(status.message()));
            return Err(ActorError::Refused {
                role,
                url,
                code,
                message,
            });
        }
        let waited = self.began.get_or_insert_with(Instant::now).elapsed();
        let asked = WireError::retry_after(&status);
        match asked.is_some() || passes {
            true => self.peer.presence.answered(),
            false => self.peer.presence.missed(),
        }
        let pause = self.pauses.next_pause(asked);
        if waited + pause > self.peer.patience {
            return Err(self.peer.given_up(waited, status));
        }
        let (retry_ms, code, error) = (pause.as_millis() as u64, status.code(), status.message());
        match asked {
            Some(_) => tracing::warn!(role, url, error, retry_ms, "waiting: the peer has no room"),
            None => tracing::warn!(
                role,
                url,
                ?code,
                error,
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
        self.peer.presence.answered();
        self.began = None;
        self.pauses.over();
    }
}

//! A peer service: its address, its connection, and how long its silence is borne.
//!
//! Connections are lazy and restored by the transport, so that a peer may start later than the actor and may restart.

use crate::ActorError;
use proto::{BULK_WINDOW, InvalidMessage, WireError};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a connection may be silent before the peer is asked whether it lives, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Who is called, where, and for how long before giving up.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    role: &'static str,
    url: Arc<str>,
    patience: Duration,
}

impl Peer {
    pub(crate) fn new(role: &'static str, url: &str, patience: Duration) -> Self {
        Self {
            role,
            url: url.into(),
            patience,
        }
    }

    /// A connection that is made at the first request; each request may take `request_timeout`.
    pub(crate) fn channel(&self, request_timeout: Duration) -> Result<Channel, ActorError> {
        let endpoint = Endpoint::from_shared(self.url.to_string()).map_err(|source| ActorError::Address {
            role: self.role,
            url: self.url.to_string(),
            source,
        })?;
        let endpoint = endpoint
            .timeout(request_timeout)
            .connect_timeout(request_timeout.min(KEEP_ALIVE))
            .tcp_nodelay(true)
            .initial_stream_window_size(BULK_WINDOW)
            .initial_connection_window_size(BULK_WINDOW)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_lazy())
    }

    /// Repeats `attempt` until it is answered, refused, or the peer's patience has run out.
    pub(crate) async fn until_answered<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, ActorError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut outage = self.outage();
        // The time that the first attempt takes counts: a peer that hangs is as far away as one that is gone.
        outage.began = Some(Instant::now());
        loop {
            match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(status) => outage.pause(status).await?,
            }
        }
    }

    /// The same peer, borne in silence for no longer than `limit`.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self {
            patience: self.patience.min(limit),
            ..self.clone()
        }
    }

    /// The error of a peer that has not answered.
    pub(crate) fn unreachable(&self, waited: Duration, last: Status) -> ActorError {
        ActorError::Unreachable {
            role: self.role,
            url: self.url.to_string(),
            waited_s: waited.as_secs_f64(),
            source: last.into(),
        }
    }

    /// Bookkeeping of one outage.
    pub(crate) fn outage(&self) -> Outage<'_> {
        Outage {
            peer: self,
            began: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What an answer that is not well formed amounts to.
    pub(crate) fn malformed(&self, source: InvalidMessage) -> ActorError {
        ActorError::Answer {
            role: self.role,
            url: self.url.to_string(),
            source,
        }
    }
}

/// One stretch of time in which a peer has not answered.
pub(crate) struct Outage<'a> {
    peer: &'a Peer,
    /// Since when there has been no answer.
    began: Option<Instant>,
    pause: Duration,
}

impl Outage<'_> {
    /// Waits before the next attempt, twice as long each time.
    ///
    /// # Errors
    /// [`ActorError::Refused`] when another attempt would fail the same way, [`ActorError::Unreachable`] when the
    /// patience does not last until then.
    pub(crate) async fn pause(&mut self, status: Status) -> Result<(), ActorError> {
        let (role, url) = (self.peer.role, self.peer.url.to_string());
        if !is_outage(&status) {
            let (code, message) = (status.code(), status.message().to_owned());
            return Err(ActorError::Refused {
                role,
                url,
                code,
                message,
            });
        }
        let waited = self.began.get_or_insert_with(Instant::now).elapsed();
        if waited + self.pause > self.peer.patience {
            return Err(self.peer.unreachable(waited, status));
        }
        let retry_ms = self.pause.as_millis() as u64;
        tracing::warn!(role, url, code = ?status.code(), message = status.message(), retry_ms, "peer does not answer");
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// The peer has done something: the outage is over.
    pub(crate) fn over(&mut self) {
        (self.began, self.pause) = (None, FIRST_PAUSE);
    }
}

/// Whether the same request may be answered later. A request whose deadline passed, or whose connection went away, comes
/// back as cancelled.
fn is_outage(status: &Status) -> bool {
    WireError::is_retryable(status) || status.code() == Code::Cancelled
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn peer() -> Peer {
        Peer::new("learner", "http://127.0.0.1:7000", Duration::from_millis(200))
    }

    #[tokio::test]
    async fn an_outage_is_borne_until_the_patience_ends_and_the_error_names_the_address() {
        let attempts = Cell::new(0);
        let peer = peer();
        let failure = peer.until_answered(|| {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(Status::unavailable("connection refused")) }
        });
        let error = failure.await.unwrap_err();
        assert!(error.to_string().contains("http://127.0.0.1:7000"), "{error}");
        assert!(matches!(error, ActorError::Unreachable { waited_s, .. } if waited_s >= 0.05));
        assert!(attempts.get() >= 2, "{}", attempts.get());
    }

    #[tokio::test]
    async fn an_answer_after_an_outage_is_the_answer() {
        let attempts = Cell::new(0);
        let peer = peer();
        let answer = peer.until_answered(|| {
            attempts.set(attempts.get() + 1);
            let up = attempts.get() == 2;
            async move {
                if up {
                    Ok(7)
                } else {
                    Err(Status::cancelled("connection lost"))
                }
            }
        });
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn only_time_without_an_answer_counts_as_an_outage() {
        let peer = peer();
        let mut outage = peer.outage();
        for _hiccup in 0..2 {
            sleep(Duration::from_millis(250)).await;
            outage.pause(Status::unavailable("restarting")).await.unwrap();
            outage.over();
        }
    }

    #[tokio::test]
    async fn a_refusal_is_not_repeated() {
        let attempts = Cell::new(0);
        let peer = peer();
        let refusal = peer.until_answered(|| {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(Status::failed_precondition("another run")) }
        });
        let error = refusal.await.unwrap_err();
        assert!(error.to_string().contains("another run"), "{error}");
        assert_eq!(attempts.get(), 1);
    }

    #[test]
    fn an_address_that_is_none_says_what_would_be_right() {
        let peer = Peer::new("reward-server", "not an address", Duration::from_secs(1));
        let error = peer.channel(Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("http://host:port"), "{error}");
    }
}

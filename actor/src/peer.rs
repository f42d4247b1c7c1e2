//! A peer service: its address, its connection, and how long its silence is borne.
//!
//! Connections are lazy and restored by the transport, so that a peer may start later than the actor and may restart.

mod outage;
mod presence;

pub(crate) use outage::Outage;
pub(crate) use presence::Presence;

use crate::ActorError;
use common::ActorId;
use prometheus_client::metrics::counter::Counter;
use proto::{Answering, BULK_WINDOW, InvalidMessage, Network, WireError};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// How long a peer may take to be reached, and to prove who it is.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// Who is called, where, and for how long before giving up.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    role: &'static str,
    who: Answering,
    url: Arc<str>,
    network: Arc<dyn Network>,
    patience: Duration,
    /// Where the jitter of pauses comes from.
    jitter_seed: u64,
    /// Whether an internal failure of it may pass.
    failures_pass: bool,
    /// Attempts that were repeated.
    retries: Counter,
    presence: Presence,
}

impl Peer {
    /// Whoever is `role` to this actor, and proves to be `who` where that is proven, at `url`.
    pub(crate) fn new(
        role: &'static str,
        who: Answering,
        url: &str,
        network: Arc<dyn Network>,
        patience: Duration,
    ) -> Self {
        Self {
            role,
            who,
            url: url.into(),
            network,
            patience,
            jitter_seed: 0,
            failures_pass: false,
            retries: Counter::default(),
            presence: Presence::default(),
        }
    }

    /// The same peer for this caller, whose pauses are not those of other callers: who lost a server together must not come
    /// back together.
    pub(crate) fn called_by(self, caller: &ActorId) -> Self {
        let name = blake3::hash(caller.as_str().as_bytes());
        let (seed, _) = name.as_bytes().split_first_chunk().expect("a digest has 8 bytes");
        Self {
            jitter_seed: u64::from_le_bytes(*seed),
            ..self
        }
    }

    /// A connection that is made at the first request; each request may take `request_timeout`.
    pub(crate) fn channel(&self, request_timeout: Duration) -> Result<Channel, ActorError> {
        self.channel_at(&self.url, request_timeout)
    }

    /// The same to one of several addresses that the peer has.
    pub(crate) fn channel_at(&self, url: &str, request_timeout: Duration) -> Result<Channel, ActorError> {
        let settings = |endpoint: Endpoint| {
            endpoint
                .timeout(request_timeout)
                .connect_timeout(request_timeout.min(REACHED_WITHIN))
                .initial_stream_window_size(BULK_WINDOW)
                .initial_connection_window_size(BULK_WINDOW)
        };
        proto::channel(&self.network, url, self.who, settings).map_err(|source| ActorError::Address {
            role: self.role,
            url: url.to_owned(),
            source,
        })
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
                Ok(answer) => {
                    outage.over();
                    return Ok(answer);
                }
                Err(status) => outage.pause(status).await?,
            }
        }
    }

    /// The same peer, whose failures may pass too: those of a learner are its run's, which has then failed.
    pub(crate) fn that_may_fail(self) -> Self {
        Self {
            failures_pass: true,
            ..self
        }
    }

    /// Attempts that were repeated, counted on.
    pub(crate) fn retries(&self) -> Counter {
        self.retries.clone()
    }

    /// Whether it is there, as all know who call it.
    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// How long it is borne.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Repeats `attempt` until it is answered or refused. The last attempt begins before `last_start`, and `end` cuts off
    /// whatever is under way.
    pub(crate) async fn until_answered_by<T, F>(
        &self,
        last_start: Instant,
        end: Instant,
        attempt: impl FnMut() -> F,
    ) -> Result<T, ActorError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let began = Instant::now();
        let limited = Self {
            patience: last_start.saturating_duration_since(began),
            ..self.clone()
        };
        match timeout_at(end, limited.until_answered(attempt)).await {
            Ok(answer) => answer,
            Err(_) => {
                let status = Status::deadline_exceeded("no time is left for an answer");
                Err(self.given_up(began.elapsed(), status))
            }
        }
    }

    /// The error of a peer that has not served for so long, by what the last attempt came to.
    fn given_up(&self, waited: Duration, last: Status) -> ActorError {
        let (role, url, waited_s) = (self.role, self.url.to_string(), waited.as_secs_f64());
        // A connection that broke is no answer, whatever its code.
        let code = match WireError::is_broken(&last) {
            true => Code::Unavailable,
            false => last.code(),
        };
        let source = last.into();
        match code {
            Code::ResourceExhausted => ActorError::Overloaded {
                role,
                url,
                waited_s,
                source,
            },
            Code::Internal => ActorError::Failing {
                role,
                url,
                waited_s,
                source,
            },
            _ => ActorError::Unreachable {
                role,
                url,
                waited_s,
                source,
            },
        }
    }

    /// Bookkeeping of one outage.
    pub(crate) fn outage(&self) -> Outage<'_> {
        Outage::of(self)
    }

    /// What it is reached over.
    pub(crate) fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    /// What draws about it begin with: this caller's own.
    pub(crate) fn jitter_seed(&self) -> u64 {
        self.jitter_seed
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

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Pauses, PeerRole, Tcp};
    use std::cell::Cell;
    use tokio::time::sleep;

    fn peer() -> Peer {
        let patience = Duration::from_millis(200);
        let who = Answering::Role(PeerRole::Learner);
        Peer::new("learner", who, "http://127.0.0.1:7000", Arc::new(Tcp), patience)
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

    #[test]
    fn callers_who_lost_a_peer_together_come_back_at_other_times() {
        let came_back = |name: &str| {
            let peer = peer().called_by(&ActorId::new(name).unwrap());
            let mut pauses = Pauses::drawn_from(peer.jitter_seed());
            (0..8).map(|_| pauses.next_pause(None)).sum::<Duration>()
        };
        assert!(came_back("a") == came_back("a") && came_back("a") != came_back("b"));
    }

    #[tokio::test]
    async fn a_peer_without_room_is_asked_again_when_it_says_and_not_beyond_the_patience() {
        let overloaded = |ms| {
            Status::from(WireError::Overloaded {
                reason: "64 requests are worked on".into(),
                retry_after: Duration::from_millis(ms),
            })
        };
        let attempts = Cell::new(0);
        let peer = peer();
        let began = Instant::now();
        let answer = peer.until_answered(|| {
            attempts.set(attempts.get() + 1);
            let answer = if attempts.get() == 2 {
                Ok(7)
            } else {
                Err(overloaded(120))
            };
            async move { answer }
        });
        assert_eq!(answer.await.unwrap(), 7);
        assert!(began.elapsed() >= Duration::from_millis(120));
        let began = Instant::now();
        let answer = peer.until_answered(|| async { Err::<(), _>(overloaded(5000)) });
        let error = crate::failure::chain(&answer.await.unwrap_err());
        assert!(
            error.contains("64 requests") && error.contains("had no room"),
            "{error}"
        );
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_failure_passes_only_where_it_may() {
        let failing = || async { Err::<(), _>(Status::internal("a picture too many")) };
        let refused = peer().until_answered(failing).await.unwrap_err();
        assert!(matches!(refused, ActorError::Refused { .. }), "{refused}");
        let failed = peer().that_may_fail().until_answered(failing).await.unwrap_err();
        assert!(matches!(failed, ActorError::Failing { waited_s, .. } if waited_s >= 0.05));
    }

    #[tokio::test]
    async fn a_connection_that_broke_under_the_request_is_no_failure_of_the_peer_whatever_its_code() {
        for code in [Code::Internal, Code::ResourceExhausted] {
            let broken = || async move {
                let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                let mut status = Status::new(code, "h2 protocol error");
                status.set_source(Arc::new(reset));
                Err::<(), _>(status)
            };
            let peer = peer().that_may_fail();
            let away = peer.until_answered(broken).await.unwrap_err();
            assert!(matches!(away, ActorError::Unreachable { .. }), "{away}");
            assert!(peer.presence().is_missed(), "{code:?}");
        }
    }

    #[tokio::test]
    async fn what_is_under_way_is_cut_off_at_the_end_and_nothing_begins_after_its_time() {
        let (peer, began) = (peer(), Instant::now());
        let after = |ms| began + Duration::from_millis(ms);
        let hanging = || std::future::pending::<Result<(), Status>>();
        let cut = peer.until_answered_by(after(5_000), after(60), hanging).await;
        assert!(matches!(cut, Err(ActorError::Unreachable { .. })));
        assert!(began.elapsed() < Duration::from_secs(1));
        let attempts = Cell::new(0);
        let late = peer.until_answered_by(began, after(60_000), || {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(Status::unavailable("restarting")) }
        });
        assert!(late.await.is_err());
        assert_eq!(attempts.get(), 1);
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
        let patience = Duration::from_secs(1);
        let who = Answering::Host;
        let peer = Peer::new("reward-server", who, "not an address", Arc::new(Tcp), patience);
        let error = peer.channel(Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("http://host:port"), "{error}");
    }
}

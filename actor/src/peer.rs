//! A peer service: its address, its connection, and how long its silence is borne.
//!
//! Connections are lazy and restored by the transport, so that a peer may start later than the actor and may restart.

mod outage;
mod presence;

pub(crate) use outage::Outage;
pub(crate) use presence::Presence;

use crate::{ActorError, failure::code};
use common::ActorId;
use prometheus_client::metrics::counter::Counter;
use proto::{Answering, BULK_WINDOW, InvalidMessage, Network};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// How long a peer may take to be reached, and to prove who it is.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// Less is no time to speak of: the first two pauses fit into so much, and people are told tenths of a second.
const NO_TIME: Duration = Duration::from_millis(150);

/// Who is called, where, and for how long before giving up.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    role: &'static str,
    who: Answering,
    url: Arc<str>,
    network: Arc<dyn Network>,
    patience: Duration,
    /// What has left no time to be patient in, if anything has.
    out_of_time: Option<&'static str>,
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
            out_of_time: None,
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

    /// Repeats `attempt` for a lease until it is answered or refused. The last attempt begins before `last_start`, and `end`, which is
    /// the lease's, cuts off whatever is under way.
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
        let time = last_start.min(end).saturating_duration_since(began);
        let limited = Self {
            patience: last_start.saturating_duration_since(began),
            out_of_time: (time < NO_TIME).then_some(match last_start < end {
                // Requests of the lease before this one took it.
                true => "its timeout",
                false => "the lease",
            }),
            ..self.clone()
        };
        let answer = timeout_at(end, limited.until_answered(attempt)).await;
        answer.unwrap_or_else(|_| {
            let status = Status::deadline_exceeded("no time is left for an answer");
            Err(limited.given_up(began.elapsed(), status))
        })
    }

    /// The error of a peer that has not served for so long, by what the last attempt came to.
    fn given_up(&self, waited: Duration, last: Status) -> ActorError {
        let (role, url, waited_s) = (self.role, self.url.to_string(), waited.as_secs_f64());
        let code = code(&last);
        let source = last.into();
        match (code, self.out_of_time) {
            (Code::ResourceExhausted, _) => ActorError::Overloaded {
                role,
                url,
                waited_s,
                source,
            },
            (Code::Internal, _) => ActorError::Failing {
                role,
                url,
                waited_s,
                source,
            },
            (_, Some(of)) => ActorError::NoTimeLeft {
                role,
                url,
                of,
                source,
            },
            (_, None) => ActorError::Unreachable {
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
mod tests;

//! Artifacts: bytes named by their digest, from a relay that has them or from the learner.

use super::LearnerClient;
use super::download::{Download, Ended, Wrong};
use super::pace::Pace;
use crate::{ActorError, failure::reason, relay::terms, shelf::Receiving};
use bytes::Bytes;
use common::Artifact;
use proto::{Answering, InvalidMessage, PeerRole, pb, pb::relay_service_client::RelayServiceClient};
use std::{future::Future, io, net::SocketAddr};
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming, transport::Endpoint};

/// What an artifact's bytes are counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The frozen base model.
    Base,
    /// An adapter.
    Adapter,
}

/// Where verified chunks go, in order.
pub(crate) trait ChunkSink: Send {
    /// Keeps the next chunk.
    fn put(&mut self, chunk: Bytes) -> impl Future<Output = io::Result<()>> + Send;
}

/// From how many bytes on a stream says something about a rate.
const RATE_BYTES: u64 = 4 << 20;

impl ChunkSink for Receiving {
    async fn put(&mut self, chunk: Bytes) -> io::Result<()> {
        Receiving::put(self, chunk);
        Ok(())
    }
}

impl LearnerClient {
    /// Fetches an artifact into `sink`: from the first of `relays` that brings it, the rest from the learner. Every chunk is
    /// verified before it is kept.
    ///
    /// # Errors
    /// [`ActorError::ArtifactDigest`] or [`ActorError::ArtifactSize`] for other bytes than the learner promised, and whatever
    /// keeps the learner from sending them all. What a relay does wrong only costs it the next minutes' trust.
    pub(crate) async fn fetch<S: ChunkSink>(
        &self,
        artifact: &Artifact,
        payload: Payload,
        relays: &[SocketAddr],
        sink: &mut S,
    ) -> Result<(), ActorError> {
        if !artifact.is_fetchable() {
            let reason = format!(
                "the learner gives no digests of the chunks of {}",
                artifact.name()
            );
            return Err(self
                .peer
                .malformed(InvalidMessage::new("artifact.chunk_digests", reason)));
        }
        let mut download = Download::new(artifact);
        for (index, &relay) in relays.iter().enumerate() {
            if download.is_whole() || self.transfers.is_avoided(relay, Instant::now()) {
                continue;
            }
            if let Err(reason) = self
                .fetch_relayed(relay, artifact, payload, &mut download, sink)
                .await?
            {
                let (name, missing_bytes) = (artifact.name(), download.missing());
                let instead = self.give_up(relay, &relays[index + 1..]);
                tracing::warn!(%relay, artifact = name, reason, missing_bytes, instead, "relay given up");
            }
        }
        self.fetch_rest(artifact, payload, &mut download, sink).await
    }

    /// A relay is not asked again for some time; answers where what is missing comes from instead.
    fn give_up(&self, relay: SocketAddr, others: &[SocketAddr]) -> String {
        let now = Instant::now();
        self.transfers.give_up(relay, now);
        let mut others = others.iter();
        let next = others.find(|&&other| !self.transfers.is_avoided(other, now));
        next.map_or_else(|| self.peer.url().to_owned(), ToString::to_string)
    }

    /// What is missing, from the learner.
    async fn fetch_rest<S: ChunkSink>(
        &self,
        artifact: &Artifact,
        payload: Payload,
        download: &mut Download<'_>,
        sink: &mut S,
    ) -> Result<(), ActorError> {
        // There is nobody else to ask: whatever comes is waited for, as long as something does.
        let pace = Pace {
            stretch: self.request_timeout,
            least: 1,
        };
        let mut outage = self.peer.outage();
        while !download.is_whole() {
            let (offset, begun) = (download.offset(), Instant::now());
            let broken = match self.open_learner(artifact, offset).await {
                Ok(stream) => match download
                    .drain(stream, pace, sink, |n| self.transfers.count(payload, n))
                    .await?
                {
                    Ended::Whole => Status::ok(""),
                    Ended::Broken(status) => status,
                    Ended::Wrong(wrong) => return Err(self.wrong(artifact, wrong)),
                },
                Err(status) => status,
            };
            let brought = download.offset() - offset;
            if brought >= RATE_BYTES {
                let seconds = begun.elapsed().as_secs_f64().max(1e-6);
                self.transfers.learner_rate(brought as f64 / seconds);
            }
            if brought > 0 {
                outage.over();
            }
            if !download.is_whole() {
                outage.pause(broken).await?;
            }
        }
        Ok(())
    }

    /// What a relay brings of what is missing; or why it brings no more.
    async fn fetch_relayed<S: ChunkSink>(
        &self,
        relay: SocketAddr,
        artifact: &Artifact,
        payload: Payload,
        download: &mut Download<'_>,
        sink: &mut S,
    ) -> Result<Result<(), String>, ActorError> {
        let within = terms::at_most(terms::ANSWERED_WITHIN);
        let opened = timeout(within, self.open_relay(relay, artifact, download.offset())).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(status)) => return Ok(Err(format!("{:?}: {}", status.code(), reason(&status)))),
            Err(_) => return Ok(Err(format!("no answer in {} s", within.as_secs_f64()))),
        };
        let pace = self.transfers.relays_pace();
        let count = |bytes| self.transfers.count_relayed(payload, bytes);
        Ok(match download.drain(stream, pace, sink, count).await? {
            Ended::Whole => Ok(()),
            Ended::Broken(status) => Err(status.message().to_owned()),
            Ended::Wrong(wrong) => Err(self.wrong(artifact, wrong).to_string()),
        })
    }

    /// Asks the learner for the bytes from `offset` on.
    async fn open_learner(
        &self,
        artifact: &Artifact,
        offset: u64,
    ) -> Result<Streaming<pb::ArtifactChunk>, Status> {
        let request = self.request(self.fetch_request(artifact, offset));
        Ok(self.artifacts.clone().fetch_artifact(request).await?.into_inner())
    }

    /// Asks a relay.
    async fn open_relay(
        &self,
        relay: SocketAddr,
        artifact: &Artifact,
        offset: u64,
    ) -> Result<Streaming<pb::ArtifactChunk>, Status> {
        let settings = |endpoint: Endpoint| {
            let endpoint = terms::lives().on(endpoint);
            endpoint
                .connect_timeout(terms::at_most(terms::REACHED_WITHIN))
                .initial_stream_window_size(proto::BULK_WINDOW)
                .initial_connection_window_size(proto::BULK_WINDOW)
        };
        let (url, who) = (format!("http://{relay}"), Answering::Role(PeerRole::Actor));
        let channel = proto::channel(self.peer.network(), &url, who, settings)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let request = self.request(self.fetch_request(artifact, offset));
        let asked = RelayServiceClient::new(channel).fetch_artifact(request).await;
        Ok(asked?.into_inner())
    }

    fn fetch_request(&self, artifact: &Artifact, offset: u64) -> pb::FetchArtifactRequest {
        pb::FetchArtifactRequest {
            header: Some(self.header()),
            digest: Some(artifact.digest().into()),
            offset,
        }
    }

    fn wrong(&self, artifact: &Artifact, wrong: Wrong) -> ActorError {
        let name = artifact.name().to_owned();
        match wrong {
            Wrong::Offset(message) => self.peer.malformed(message),
            Wrong::TooLong => ActorError::ArtifactSize {
                name,
                expected: artifact.bytes(),
            },
            Wrong::Digest { chunk, found } => ActorError::ArtifactDigest {
                name,
                chunk,
                expected: artifact.chunks()[chunk],
                found,
            },
        }
    }
}

#[cfg(test)]
mod tests;

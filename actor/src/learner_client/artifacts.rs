//! Artifacts: bytes named by their digest, from a relay that has them or from the learner.

use super::LearnerClient;
use super::download::{Download, Ended, Pace, Wrong};
use crate::{ActorError, shelf::Receiving};
use bytes::Bytes;
use common::Artifact;
use proto::{Answering, InvalidMessage, PeerRole, pb, pb::relay_service_client::RelayServiceClient};
use std::{future::Future, io, net::SocketAddr, time::Duration};
use tokio::time::Instant;
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

/// How long a relay may take to be reached.
const RELAY_REACHED_WITHIN: Duration = Duration::from_secs(2);

/// How long a relay may be silent or slow.
const RELAY_PATIENCE: Duration = Duration::from_secs(3);

/// A relay must bring this share of what the learner last brought in the same time. It shares its own line among the branches
/// of the tree, and gets what it passes on from one that does: an equal rate would be too much to ask.
const RELAY_SHARE: f64 = 0.25;

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
        for &relay in relays {
            if download.is_whole() || self.transfers.is_avoided(relay, Instant::now()) {
                continue;
            }
            if let Err(reason) = self
                .fetch_relayed(relay, artifact, payload, &mut download, sink)
                .await?
            {
                tracing::warn!(%relay, artifact = artifact.name(), reason, "relay given up for the learner");
                self.transfers.avoid(relay, Instant::now());
            }
        }
        self.fetch_rest(artifact, payload, &mut download, sink).await
    }

    /// What is missing, from the learner.
    async fn fetch_rest<S: ChunkSink>(
        &self,
        artifact: &Artifact,
        payload: Payload,
        download: &mut Download<'_>,
        sink: &mut S,
    ) -> Result<(), ActorError> {
        let pace = Pace {
            silence: self.request_timeout,
            least: 0,
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
        let stream = match self.open_relay(relay, artifact, download.offset()).await {
            Ok(stream) => stream,
            Err(status) => return Ok(Err(format!("{:?}: {}", status.code(), status.message()))),
        };
        let pace = Pace {
            silence: RELAY_PATIENCE,
            least: self.transfers.least_of(RELAY_SHARE, RELAY_PATIENCE),
        };
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
            endpoint
                .connect_timeout(RELAY_REACHED_WITHIN)
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
mod tests {
    use super::*;
    use crate::scripted_learner::{Script, artifact, join, manifest, serve_relay};
    use std::sync::{Arc, Mutex};
    use tokio::net::TcpListener;

    const BYTES: &[u8] = b"some forty bytes of weights to be fetched";

    /// As many of another version.
    const OLD: &[u8] = b"as many bytes of the version before this.";

    /// What was verified.
    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl ChunkSink for Kept {
        async fn put(&mut self, chunk: Bytes) -> io::Result<()> {
            self.0.extend_from_slice(&chunk);
            Ok(())
        }
    }

    fn serving(bytes: &[u8], break_after: Option<usize>) -> Script {
        let artifacts = [(store::digest(BYTES), bytes.to_vec())].into();
        Script {
            artifacts,
            break_after,
            ..Script::default()
        }
    }

    /// Fetches `BYTES` from a learner that does as `script` says, relays first.
    async fn fetch(
        script: Script,
        relays: &[SocketAddr],
    ) -> (
        Result<Vec<u8>, ActorError>,
        Arc<LearnerClient>,
        Arc<Mutex<Script>>,
    ) {
        let (learner, _, script) = join(manifest(2, 0, b""), script).await;
        let mut kept = Kept::default();
        let fetched = learner
            .fetch(&artifact(BYTES), Payload::Adapter, relays, &mut kept)
            .await;
        (fetched.map(|()| kept.0), learner, script)
    }

    /// A relay that passes these bytes on as `BYTES`.
    async fn relay(bytes: &[u8], break_after: Option<usize>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        serve_relay(listener, serving(bytes, break_after));
        address
    }

    #[tokio::test]
    async fn a_broken_stream_is_resumed_at_the_first_chunk_that_is_missing() {
        let (fetched, learner, script) = fetch(serving(BYTES, Some(17)), &[]).await;
        assert_eq!(fetched.unwrap(), BYTES);
        // In chunks of eight, a stream of 17 bytes brings two.
        assert_eq!(script.lock().unwrap().offsets, [0, 16, 32]);
        assert!(learner.received().adapter >= BYTES.len() as u64);
        assert_eq!(learner.received().base, 0);
    }

    #[tokio::test]
    async fn i5_bytes_that_are_not_those_promised_are_refused_naming_the_chunk_and_both_digests() {
        let mut forged = BYTES.to_vec();
        forged[20] ^= 1;
        let (fetched, ..) = fetch(serving(&forged, None), &[]).await;
        let Err(ActorError::ArtifactDigest {
            chunk,
            expected,
            found,
            ..
        }) = fetched
        else {
            panic!("{fetched:?}")
        };
        let digests = (store::digest(&BYTES[16..24]), store::digest(&forged[16..24]));
        assert_eq!((chunk, expected, found), (2, digests.0, digests.1));
    }

    #[tokio::test]
    async fn more_bytes_than_promised_are_refused() {
        let longer = [BYTES, BYTES].concat();
        let (fetched, ..) = fetch(serving(&longer, None), &[]).await;
        assert!(
            matches!(fetched, Err(ActorError::ArtifactSize { expected: 41, .. })),
            "{fetched:?}"
        );
    }

    #[tokio::test]
    async fn an_artifact_that_the_learner_does_not_have_is_not_asked_for_again() {
        let (learner, _, script) = join(manifest(2, 0, b""), serving(BYTES, None)).await;
        let unknown = artifact(b"unknown");
        let refused = learner
            .fetch(&unknown, Payload::Adapter, &[], &mut Kept::default())
            .await;
        assert!(matches!(refused, Err(ActorError::Refused { .. })), "{refused:?}");
        assert_eq!(script.lock().unwrap().offsets, [0]);
    }

    #[tokio::test]
    async fn what_a_relay_has_is_not_asked_of_the_learner() {
        let relays = [relay(BYTES, None).await];
        let (fetched, learner, script) = fetch(serving(BYTES, None), &relays).await;
        assert_eq!(fetched.unwrap(), BYTES);
        assert_eq!(script.lock().unwrap().offsets, [0; 0]);
        assert_eq!(learner.received().from_relays, BYTES.len() as u64);
    }

    #[tokio::test]
    async fn i5_a_relay_that_lies_breaks_off_or_is_not_there_costs_no_chunk_and_is_not_asked_again() {
        let mut forged = BYTES.to_vec();
        forged[20] ^= 1;
        let other = |chunk: usize, found: &[u8]| {
            let at = chunk * 8..(chunk + 1) * 8;
            let (found, expected) = (store::digest(&found[at.clone()]), store::digest(&BYTES[at]));
            format!("chunk {chunk}: received bytes have digest {found}, the manifest says {expected}")
        };
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        for (relay, resumed, why) in [
            (relay(&forged, None).await, 16, other(2, &forged)),
            (relay(OLD, None).await, 0, other(0, OLD)),
            (relay(BYTES, Some(30)).await, 24, "broken by the script".into()),
            (gone, 0, "Unavailable".into()),
        ] {
            let (learner, ..) = join(manifest(2, 0, b""), serving(BYTES, None)).await;
            let promised = artifact(BYTES);
            let (mut download, mut kept) = (Download::new(&promised), Kept::default());
            let given_up =
                learner.fetch_relayed(relay, &promised, Payload::Adapter, &mut download, &mut kept);
            let reason = given_up.await.unwrap().unwrap_err();
            assert!(reason.contains(&why), "{reason}");
            assert_eq!(kept.0, BYTES[..resumed]);
            let (fetched, learner, script) = fetch(serving(BYTES, None), &[relay]).await;
            assert_eq!(fetched.unwrap(), BYTES);
            assert_eq!(script.lock().unwrap().offsets, [resumed as u64]);
            assert!(learner.transfers.is_avoided(relay, Instant::now()));
        }
    }
}

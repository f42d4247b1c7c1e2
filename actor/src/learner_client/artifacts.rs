//! Artifacts: bytes named by their digest, fetched in chunks, resumed where the stream broke, checked before use.

use super::LearnerClient;
use crate::{ActorError, manifest::Artifact};
use bytes::Bytes;
use common::Digest;
use proto::{InvalidMessage, pb};
use std::sync::atomic::Ordering;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tonic::{Status, Streaming};

/// What an artifact's bytes are counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The frozen base model.
    Base,
    /// An adapter.
    Adapter,
}

impl LearnerClient {
    /// Fetches an artifact into `sink`. What was written counts only once this has returned `Ok`: the digest is checked
    /// at the end.
    ///
    /// # Errors
    /// [`ActorError::ArtifactDigest`] or [`ActorError::ArtifactSize`] for other bytes than promised, and whatever keeps
    /// the learner from sending them all.
    pub(crate) async fn fetch<W: AsyncWrite + Unpin>(
        &self,
        artifact: &Artifact,
        payload: Payload,
        sink: &mut W,
    ) -> Result<(), ActorError> {
        let mut download = Download {
            client: self,
            artifact,
            payload,
            received: 0,
            hasher: blake3::Hasher::new(),
        };
        let mut outage = self.peer.outage();
        while download.received < artifact.bytes {
            let before = download.received;
            let broken = match download.open().await {
                Ok(stream) => download.drain(stream, sink).await?,
                Err(status) => status,
            };
            if download.received > before {
                outage.over();
            }
            if download.received < artifact.bytes {
                outage.pause(broken).await?;
            }
        }
        download.verify()
    }
}

/// One artifact on its way.
struct Download<'a> {
    client: &'a LearnerClient,
    artifact: &'a Artifact,
    payload: Payload,
    received: u64,
    hasher: blake3::Hasher,
}

impl Download<'_> {
    /// Asks for the bytes from where the last stream ended.
    async fn open(&self) -> Result<Streaming<pb::ArtifactChunk>, Status> {
        let request = self.client.request(pb::FetchArtifactRequest {
            header: Some(self.client.header()),
            digest: Some(self.artifact.digest.into()),
            offset: self.received,
        });
        Ok(self
            .client
            .client
            .clone()
            .fetch_artifact(request)
            .await?
            .into_inner())
    }

    /// Takes what a stream brings; answers how it ended. A stream that broke can be resumed whatever broke it.
    async fn drain<W: AsyncWrite + Unpin>(
        &mut self,
        mut stream: Streaming<pb::ArtifactChunk>,
        sink: &mut W,
    ) -> Result<Status, ActorError> {
        loop {
            match tokio::time::timeout(self.client.request_timeout, stream.message()).await {
                Ok(Ok(Some(chunk))) => self.take(chunk, sink).await?,
                Ok(Ok(None)) => return Ok(Status::unavailable("the stream ended before the artifact did")),
                Ok(Err(status)) => return Ok(Status::unavailable(format!("the stream broke: {status}"))),
                Err(_) => return Ok(Status::deadline_exceeded("the stream stands still")),
            }
        }
    }

    async fn take<W: AsyncWrite + Unpin>(
        &mut self,
        chunk: pb::ArtifactChunk,
        sink: &mut W,
    ) -> Result<(), ActorError> {
        if chunk.offset != self.received {
            let reason = format!("{} where {} comes next", chunk.offset, self.received);
            return Err(self
                .client
                .peer
                .malformed(InvalidMessage::new("artifact_chunk.offset", reason)));
        }
        let expected = self.artifact.bytes;
        if chunk.data.len() as u64 > expected - self.received {
            return Err(ActorError::ArtifactSize {
                name: self.artifact.name.clone(),
                expected,
            });
        }
        self.received += chunk.data.len() as u64;
        self.count(chunk.data.len() as u64);
        self.hash(chunk.data.clone()).await?;
        let written = sink.write_all(&chunk.data).await;
        let path = self.artifact.name.clone().into();
        written.map_err(|source| ActorError::WorkDir {
            action: "write",
            path,
            source,
        })
    }

    fn count(&self, bytes: u64) {
        let counter = match self.payload {
            Payload::Base => &self.client.base_bytes,
            Payload::Adapter => &self.client.adapter_bytes,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Hashes off the runtime: a chunk of 1 MiB takes about half a millisecond.
    async fn hash(&mut self, data: Bytes) -> Result<(), ActorError> {
        let mut hasher = std::mem::take(&mut self.hasher);
        let hashed = tokio::task::spawn_blocking(move || {
            hasher.update(&data);
            hasher
        });
        self.hasher = hashed.await.map_err(|source| ActorError::Task {
            task: "hashing",
            source,
        })?;
        Ok(())
    }

    fn verify(self) -> Result<(), ActorError> {
        let found = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        let Artifact {
            name,
            digest: expected,
            ..
        } = self.artifact;
        if found == *expected {
            return Ok(());
        }
        Err(ActorError::ArtifactDigest {
            name: name.clone(),
            expected: *expected,
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_learner::{Script, artifact, join, manifest};

    const BYTES: &[u8] = b"some forty bytes of weights to be fetched";

    fn serving(bytes: &[u8], break_after: Option<usize>) -> Script {
        let artifacts = [(store::digest(BYTES), bytes.to_vec())].into();
        Script {
            artifacts,
            break_after,
            ..Script::default()
        }
    }

    #[tokio::test]
    async fn a_broken_stream_is_resumed_at_the_missing_byte() {
        let (learner, _, script) = join(manifest(2, 0, b""), serving(BYTES, Some(17))).await;
        let mut received = Vec::new();
        learner
            .fetch(&artifact(BYTES), Payload::Adapter, &mut received)
            .await
            .unwrap();
        assert_eq!(received, BYTES);
        assert_eq!(script.lock().unwrap().offsets, [0, 17, 34]);
        assert_eq!(learner.received(), (BYTES.len() as u64, 0));
    }

    #[tokio::test]
    async fn bytes_that_are_not_those_promised_are_refused_with_both_digests() {
        let mut forged = BYTES.to_vec();
        forged[20] ^= 1;
        let (learner, _, _) = join(manifest(2, 0, b""), serving(&forged, None)).await;
        let refusal = learner
            .fetch(&artifact(BYTES), Payload::Base, &mut Vec::new())
            .await
            .unwrap_err();
        let ActorError::ArtifactDigest { expected, found, .. } = refusal else {
            panic!("{refusal}")
        };
        assert_eq!((expected, found), (store::digest(BYTES), store::digest(&forged)));
    }

    #[tokio::test]
    async fn more_bytes_than_promised_are_refused_before_they_are_kept() {
        let longer = [BYTES, BYTES].concat();
        let (learner, _, _) = join(manifest(2, 0, b""), serving(&longer, None)).await;
        let mut received = Vec::new();
        let refusal = learner
            .fetch(&artifact(BYTES), Payload::Base, &mut received)
            .await
            .unwrap_err();
        assert!(
            matches!(refusal, ActorError::ArtifactSize { expected: 41, .. }),
            "{refusal}"
        );
        assert!(received.len() <= BYTES.len());
    }

    #[tokio::test]
    async fn an_artifact_that_the_learner_does_not_have_is_not_asked_for_again() {
        let (learner, _, script) = join(manifest(2, 0, b""), serving(BYTES, None)).await;
        let refusal = learner
            .fetch(&artifact(b"unknown"), Payload::Base, &mut Vec::new())
            .await
            .unwrap_err();
        assert!(matches!(refusal, ActorError::Refused { .. }), "{refusal}");
        assert_eq!(script.lock().unwrap().offsets, [0]);
    }
}

//! One artifact on its way: chunks from relays and the learner, each verified before it is kept, resumed at the first that is
//! missing.

use super::artifacts::ChunkSink;
use crate::ActorError;
use bytes::{Bytes, BytesMut};
use common::{Artifact, Digest};
use failpoint::Mutation;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use proto::{InvalidMessage, pb};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

/// Chunks that are hashed while others arrive.
const HASHED_AHEAD: usize = 4;

/// An artifact and how much of it is here.
pub(super) struct Download<'a> {
    artifact: &'a Artifact,
    /// Chunks verified and kept.
    kept: usize,
}

/// What is borne from who sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The longest silence.
    pub(super) silence: Duration,
    /// The fewest bytes in each `silence`; 0: any.
    pub(super) least: u64,
}

/// How a stream ended before the artifact did, or that it did not.
pub(super) enum Ended {
    /// The artifact is whole.
    Whole,
    /// The stream broke, stood still, or ended early.
    Broken(Status),
    /// It brought something else than it should have.
    Wrong(Wrong),
}

/// Bytes that are not those of the manifest.
pub(super) enum Wrong {
    /// A chunk has another digest.
    Digest {
        /// Which.
        chunk: usize,
        /// The digest of what came.
        found: Digest,
    },
    /// More came than there is.
    TooLong,
    /// They do not follow what came before.
    Offset(InvalidMessage),
}

/// Chunks on their way to being verified, in order.
struct Hashing {
    /// Bytes that came and are less than a chunk.
    rest: BytesMut,
    /// Bytes that came in this stream and before.
    received: u64,
    hashed: FuturesOrdered<BoxFuture<'static, (Bytes, Digest)>>,
}

/// Whether a message brings what comes next of an artifact of which the first `received` bytes are here.
#[cfg(feature = "testing")]
pub(crate) fn continues(artifact: &Artifact, received: u64, message: pb::ArtifactChunk) -> bool {
    Hashing::new(received).take(message, artifact).is_ok()
}

impl<'a> Download<'a> {
    /// Nothing of it is here yet.
    pub(super) fn new(artifact: &'a Artifact) -> Self {
        Self { artifact, kept: 0 }
    }

    /// Where to resume: the first byte that is missing.
    pub(super) fn offset(&self) -> u64 {
        self.artifact.range(self.kept).start
    }

    pub(super) fn is_whole(&self) -> bool {
        self.kept == self.artifact.chunks().len()
    }

    /// Takes what a stream brings, counting payload with `count`, until the artifact is whole or the stream is at its end.
    ///
    /// # Errors
    /// [`ActorError`] when the sink fails.
    pub(super) async fn drain<S: ChunkSink>(
        &mut self,
        mut stream: Streaming<pb::ArtifactChunk>,
        pace: Pace,
        sink: &mut S,
        count: impl Fn(u64),
    ) -> Result<Ended, ActorError> {
        let mut hashing = Hashing::new(self.offset());
        let (mut deadline, mut in_time) = (Instant::now() + pace.silence, 0);
        let mut broken = None;
        while !self.is_whole() {
            let wants_more = broken.is_none() && hashing.hashed.len() < HASHED_AHEAD;
            tokio::select! {
                message = timeout_at(deadline, stream.message()), if wants_more => match message {
                    Ok(Ok(Some(chunk))) => {
                        let bytes = chunk.data.len() as u64;
                        count(bytes);
                        in_time += bytes;
                        if let Err(wrong) = hashing.take(chunk, self.artifact) {
                            return Ok(Ended::Wrong(wrong));
                        }
                        if in_time > 0 && in_time >= pace.least {
                            (deadline, in_time) = (Instant::now() + pace.silence, 0);
                        }
                    }
                    Ok(Ok(None)) => broken = Some(Status::unavailable("the stream ended before the artifact did")),
                    Ok(Err(status)) => broken = Some(Status::unavailable(format!("the stream broke: {status}"))),
                    Err(_) if in_time > 0 => broken = Some(Status::deadline_exceeded("the stream is too slow")),
                    Err(_) => broken = Some(Status::deadline_exceeded("the stream stands still")),
                },
                Some((chunk, found)) = hashing.hashed.next() => {
                    if found != self.artifact.chunks()[self.kept] && !failpoint::breaks(Mutation::NoDigestCheck) {
                        return Ok(Ended::Wrong(Wrong::Digest { chunk: self.kept, found }));
                    }
                    sink.put(chunk).await.map_err(|source| ActorError::WorkDir {
                        action: "write",
                        path: self.artifact.name().into(),
                        source,
                    })?;
                    self.kept += 1;
                }
                else => return Ok(Ended::Broken(broken.unwrap_or_else(|| Status::unavailable("nothing came")))),
            }
        }
        Ok(Ended::Whole)
    }
}

impl Hashing {
    fn new(received: u64) -> Self {
        Self {
            rest: BytesMut::new(),
            received,
            hashed: FuturesOrdered::new(),
        }
    }

    /// Takes a message's bytes and hashes what has become whole chunks, off the runtime: one of 1 MiB takes about half a
    /// millisecond.
    fn take(&mut self, message: pb::ArtifactChunk, artifact: &Artifact) -> Result<(), Wrong> {
        if message.offset != self.received {
            let reason = format!("{} where {} comes next", message.offset, self.received);
            return Err(Wrong::Offset(InvalidMessage::new(
                "artifact_chunk.offset",
                reason,
            )));
        }
        if message.data.len() as u64 > artifact.bytes() - self.received {
            return Err(Wrong::TooLong);
        }
        let mut data = message.data;
        while !data.is_empty() {
            let begun = self.rest.len() as u64;
            let index = ((self.received - begun) / artifact.chunk_bytes()) as usize;
            let range = artifact.range(index);
            let missing = (range.end - range.start - begun) as usize;
            let part = data.split_to(missing.min(data.len()));
            self.received += part.len() as u64;
            let whole = part.len() == missing;
            match (begun, whole) {
                (0, true) => self.hash(part),
                _ => {
                    self.rest.extend_from_slice(&part);
                    if whole {
                        let chunk = self.rest.split().freeze();
                        self.hash(chunk);
                    }
                }
            }
        }
        Ok(())
    }

    fn hash(&mut self, chunk: Bytes) {
        self.hashed.push_back(Box::pin(async move {
            let digest = store::digest_aside(chunk.clone()).await;
            (chunk, digest)
        }));
    }
}

//! One artifact on its way: chunks from relays and the learner, each verified before it is kept, resumed at the first that is
//! missing.

use super::artifacts::ChunkSink;
use super::pace::Pace;
use crate::{ActorError, failure::reason};
use bytes::{Bytes, BytesMut};
use common::{Artifact, Digest};
use failpoint::Mutation;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use proto::artifact_stream::{OutOfPlace, continued};
use proto::{InvalidMessage, pb};
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

/// How a stream ended before the artifact did, or that it did not.
pub(super) enum Ended {
    /// The artifact is whole.
    Whole,
    /// The stream broke, was too slow, or ended early.
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

    /// How many bytes are missing.
    pub(super) fn missing(&self) -> u64 {
        self.artifact.bytes() - self.offset()
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
        let (mut paced, mut broken) = (pace.from(Instant::now()), None);
        while !self.is_whole() {
            let wants_more = broken.is_none() && hashing.hashed.len() < HASHED_AHEAD;
            tokio::select! {
                message = timeout_at(paced.until(), stream.message()), if wants_more => match message {
                    Ok(Ok(Some(chunk))) => {
                        let bytes = chunk.data.len() as u64;
                        count(bytes);
                        if let Err(wrong) = hashing.take(chunk, self.artifact) {
                            return Ok(Ended::Wrong(wrong));
                        }
                        paced.bring(bytes, Instant::now());
                    }
                    Ok(Ok(None)) => broken = Some(Status::unavailable("the stream ended before the artifact did")),
                    Ok(Err(status)) => broken = Some(Status::unavailable(format!("the stream broke: {}", reason(&status)))),
                    Err(_) => broken = Some(paced.too_late()),
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
        let data = continued(artifact, self.received, message);
        let mut data = data.map_err(|misplaced| match misplaced {
            OutOfPlace::Offset(invalid) => Wrong::Offset(invalid),
            OutOfPlace::TooLong(_) => Wrong::TooLong,
        })?;
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

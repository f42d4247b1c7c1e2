//! An artifact as a stream of chunks, from any offset, and what comes of one. Files are read as the stream is consumed.

use crate::{InvalidMessage, WireError, pb};
use bytes::{Bytes, BytesMut};
use common::Artifact;
use futures::stream::{self, BoxStream, StreamExt};
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tonic::Status;

/// The payload of every message but the last, in bytes: what this program's artifacts have as chunks.
const CHUNK_BYTES: usize = Artifact::CHUNK_BYTES as usize;

/// An artifact as a stream.
pub type Chunks = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

/// Where an artifact's bytes are.
#[derive(Debug, Clone)]
pub enum Source {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    File(PathBuf),
}

/// Why a message is not what comes next of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfPlace {
    /// Its bytes do not follow what came before.
    #[error(transparent)]
    Offset(InvalidMessage),
    /// They are more than are missing.
    #[error("more bytes came than the artifact's {0}")]
    TooLong(u64),
}

/// The bytes that a message brings of an artifact of which the first `received` are here. Their digest is not looked at.
///
/// # Errors
/// [`OutOfPlace`] when they are not what comes next.
pub fn continued(
    artifact: &Artifact,
    received: u64,
    message: pb::ArtifactChunk,
) -> Result<Bytes, OutOfPlace> {
    if message.offset != received {
        let reason = format!("{} where {received} comes next", message.offset);
        return Err(OutOfPlace::Offset(InvalidMessage::new(
            "artifact_chunk.offset",
            reason,
        )));
    }
    match message.data.len() as u64 > artifact.bytes().saturating_sub(received) {
        true => Err(OutOfPlace::TooLong(artifact.bytes())),
        false => Ok(message.data),
    }
}

/// The bytes from `offset` on. At the end of the artifact the stream is empty.
///
/// # Errors
/// [`WireError::Invalid`] when `offset` lies behind the end, [`WireError::Internal`] naming the file that cannot be read.
pub async fn chunks(source: Source, offset: u64) -> Result<Chunks, WireError> {
    match source {
        Source::Memory(bytes) => {
            check_offset(offset, bytes.len() as u64)?;
            Ok(slices(bytes, offset as usize))
        }
        Source::File(path) => {
            let (file, length) = open(&path, offset).await.map_err(|e| unreadable(&path, &e))?;
            check_offset(offset, length)?;
            Ok(reads(file, offset))
        }
    }
}

fn check_offset(offset: u64, length: u64) -> Result<(), WireError> {
    if offset <= length {
        return Ok(());
    }
    let reason = format!("{offset} lies behind the artifact's {length} bytes");
    Err(InvalidMessage::new("fetch_artifact_request.offset", reason).into())
}

fn slices(bytes: Bytes, offset: usize) -> Chunks {
    let starts = (offset..bytes.len()).step_by(CHUNK_BYTES);
    let chunk = move |start: usize| {
        let data = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
        Ok(pb::ArtifactChunk {
            offset: start as u64,
            data,
        })
    };
    stream::iter(starts.map(chunk)).boxed()
}

fn reads(file: File, offset: u64) -> Chunks {
    stream::try_unfold((file, offset), |(mut file, offset)| async move {
        let mut data = BytesMut::with_capacity(CHUNK_BYTES);
        while data.len() < CHUNK_BYTES {
            let rest = CHUNK_BYTES - data.len();
            let read = (&mut file).take(rest as u64).read_buf(&mut data).await;
            if read.map_err(|e| WireError::Internal(format!("cannot read the artifact: {e}")))? == 0 {
                break;
            }
        }
        let next = offset + data.len() as u64;
        let chunk = pb::ArtifactChunk {
            offset,
            data: data.freeze(),
        };
        Ok((next > offset).then_some((chunk, (file, next))))
    })
    .boxed()
}

async fn open(path: &Path, offset: u64) -> std::io::Result<(File, u64)> {
    let mut file = File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(SeekFrom::Start(offset)).await?;
    Ok((file, length))
}

fn unreadable(path: &Path, error: &std::io::Error) -> WireError {
    WireError::Internal(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_continues_what_came_and_is_no_more_than_is_missing() {
        let artifact = Artifact::new("a", 9, common::Digest::from_bytes([7; 32]), 4, vec![]).unwrap();
        let continued = |received, offset, bytes: usize| {
            let data = vec![7; bytes].into();
            continued(&artifact, received, pb::ArtifactChunk { offset, data })
        };
        assert_eq!(continued(4, 4, 5).unwrap().len(), 5);
        assert_eq!(continued(9, 9, 0).unwrap().len(), 0);
        for (received, offset, bytes) in [(4, 0, 5), (4, 5, 4), (0, u64::MAX, 1)] {
            let refusal = continued(received, offset, bytes).unwrap_err();
            assert!(matches!(refusal, OutOfPlace::Offset(_)), "{refusal}");
        }
        for (received, bytes) in [(4, 6), (9, 1), (0, 10), (u64::MAX, 1)] {
            assert_eq!(continued(received, received, bytes), Err(OutOfPlace::TooLong(9)));
        }
    }

    async fn collect(source: Source, offset: u64) -> Vec<(u64, usize)> {
        let chunks: Vec<_> = chunks(source, offset).await.unwrap().collect().await;
        chunks
            .into_iter()
            .map(|chunk| chunk.unwrap())
            .map(|chunk| (chunk.offset, chunk.data.len()))
            .collect()
    }

    #[tokio::test]
    async fn memory_and_files_stream_the_same_chunks_from_any_offset() {
        let content: Vec<u8> = (0..CHUNK_BYTES * 2 + 5).map(|i| i as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        std::fs::write(&path, &content).unwrap();
        let sources = [Source::Memory(content.into()), Source::File(path)];
        for source in sources {
            let whole = collect(source.clone(), 0).await;
            let chunk = CHUNK_BYTES as u64;
            assert_eq!(whole, [(0, CHUNK_BYTES), (chunk, CHUNK_BYTES), (2 * chunk, 5)]);
            assert_eq!(collect(source.clone(), 2 * chunk + 1).await, [(2 * chunk + 1, 4)]);
            assert!(collect(source.clone(), 2 * chunk + 5).await.is_empty());
            assert!(chunks(source, 2 * chunk + 6).await.is_err());
        }
    }
}

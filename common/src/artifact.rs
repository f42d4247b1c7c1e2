//! A named file of a policy version, addressed by its digest and made of chunks that each have one.

use crate::Digest;
use std::ops::Range;
use std::sync::Arc;

/// The longest chunk, in bytes: a message has room for it, and a broken stream loses no more.
const MAX_CHUNK_BYTES: u64 = 1 << 20;

/// Bytes that can be fetched from anyone, chunk by chunk: who knows the chunks' digests needs to trust nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    name: String,
    bytes: u64,
    digest: Digest,
    chunk_bytes: u64,
    chunks: Arc<[Digest]>,
}

/// Why an artifact is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifact {
    /// The name could lead out of the directory that the file is put into.
    #[error("{0:?} is not a plain file name")]
    Name(String),
    /// No chunk has this length.
    #[error("chunks of {0} bytes, expected 1 to {MAX_CHUNK_BYTES}")]
    ChunkBytes(u64),
    /// There are more or fewer chunks than the length asks for.
    #[error("{found} chunk digests for {bytes} bytes in chunks of {chunk_bytes}, expected {expected}")]
    Chunks {
        /// The artifact's length.
        bytes: u64,
        /// The length of every chunk but the last.
        chunk_bytes: u64,
        /// How many chunks that makes.
        expected: u64,
        /// How many there are.
        found: u64,
    },
}

impl Artifact {
    /// The length of the chunks that this program makes, in bytes.
    pub const CHUNK_BYTES: u64 = MAX_CHUNK_BYTES;

    /// A file of `bytes` bytes whose chunks of `chunk_bytes` (the last one may be shorter) have these digests. Without
    /// `chunks` it can be named but not fetched.
    ///
    /// # Errors
    /// [`InvalidArtifact`] when the name is no plain file name, or the chunks are not those of such a length.
    pub fn new(
        name: impl Into<String>,
        bytes: u64,
        digest: Digest,
        chunk_bytes: u64,
        chunks: Vec<Digest>,
    ) -> Result<Self, InvalidArtifact> {
        let name = name.into();
        if !is_plain_file_name(&name) {
            return Err(InvalidArtifact::Name(name.chars().take(80).collect()));
        }
        if !(1..=MAX_CHUNK_BYTES).contains(&chunk_bytes) {
            return Err(InvalidArtifact::ChunkBytes(chunk_bytes));
        }
        let (expected, found) = (bytes.div_ceil(chunk_bytes), chunks.len() as u64);
        if found != 0 && found != expected {
            return Err(InvalidArtifact::Chunks {
                bytes,
                chunk_bytes,
                expected,
                found,
            });
        }
        Ok(Self {
            name,
            bytes,
            digest,
            chunk_bytes,
            chunks: chunks.into(),
        })
    }

    /// A plain file name, safe to join to a directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// BLAKE3 of the whole.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The length of every chunk but the last, in bytes.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// BLAKE3 of each chunk, in order.
    pub fn chunks(&self) -> &[Digest] {
        &self.chunks
    }

    /// The bytes of a chunk.
    pub fn range(&self, chunk: usize) -> Range<u64> {
        let start = self.bytes.min(chunk as u64 * self.chunk_bytes);
        start..self.bytes.min(start + self.chunk_bytes)
    }

    /// Whether everything that can be fetched has a digest: always so unless it was only named.
    pub fn is_fetchable(&self) -> bool {
        self.bytes == 0 || !self.chunks.is_empty()
    }
}

/// Letters, digits, `.`, `_` and `-`, not starting with a dot: it can only name a file in the directory it is joined to.
fn is_plain_file_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, bytes: u64, chunks: usize) -> Result<Artifact, InvalidArtifact> {
        let digest = Digest::from_bytes([3; 32]);
        Artifact::new(name, bytes, digest, 4, vec![digest; chunks])
    }

    #[test]
    fn chunks_cover_every_byte_once() {
        let artifact = artifact("model.safetensors", 9, 3).unwrap();
        let ranges: Vec<_> = (0..4).map(|chunk| artifact.range(chunk)).collect();
        assert_eq!(ranges, [0..4, 4..8, 8..9, 9..9]);
    }

    #[test]
    fn a_name_that_would_leave_the_work_directory_is_refused() {
        for bad in ["", "..", "../x", "a/b", "/etc/passwd", "a\\b", ".hidden", "nul\0"] {
            let refusal = artifact(bad, 0, 0).unwrap_err();
            assert!(matches!(refusal, InvalidArtifact::Name(_)), "{bad:?}");
        }
    }

    #[test]
    fn what_has_a_digest_too_few_or_too_many_is_refused_and_what_has_none_cannot_be_fetched() {
        assert!(artifact("a", 9, 2).is_err() && artifact("a", 9, 4).is_err());
        assert!(artifact("a", 0, 1).is_err());
        assert!(artifact("a", 0, 0).unwrap().is_fetchable());
        assert!(!artifact("a", 9, 0).unwrap().is_fetchable());
        let digest = Digest::from_bytes([3; 32]);
        for chunk_bytes in [0, MAX_CHUNK_BYTES + 1, u64::MAX] {
            assert!(Artifact::new("a", 9, digest, chunk_bytes, vec![digest]).is_err());
        }
    }
}

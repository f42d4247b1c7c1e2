//! What an artifact is, found out from its bytes.

use crate::digest;
use common::{Artifact, Digest, InvalidArtifact};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The artifact of these bytes under a plain file name.
///
/// # Errors
/// [`InvalidArtifact::Name`].
pub fn artifact_of(name: &str, bytes: &[u8]) -> Result<Artifact, InvalidArtifact> {
    let chunks = bytes.chunks(Artifact::CHUNK_BYTES as usize).map(digest).collect();
    Artifact::new(
        name,
        bytes.len() as u64,
        digest(bytes),
        Artifact::CHUNK_BYTES,
        chunks,
    )
}

/// The artifact of a file, read once, chunk by chunk.
///
/// # Errors
/// What the system says, or that the name is no plain file name.
pub fn artifact_of_file(name: &str, path: &Path) -> io::Result<Artifact> {
    let mut file = File::open(path)?;
    let (mut whole, mut chunks, mut bytes) = (blake3::Hasher::new(), vec![], 0);
    let mut chunk = Vec::with_capacity(Artifact::CHUNK_BYTES as usize);
    loop {
        chunk.clear();
        (&mut file).take(Artifact::CHUNK_BYTES).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        whole.update(&chunk);
        chunks.push(digest(&chunk));
        bytes += chunk.len() as u64;
    }
    let digest = Digest::from_bytes(*whole.finalize().as_bytes());
    Artifact::new(name, bytes, digest, Artifact::CHUNK_BYTES, chunks)
        .map_err(|invalid| io::Error::new(io::ErrorKind::InvalidInput, invalid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_the_file_that_holds_them_are_the_same_artifact() {
        let chunk = Artifact::CHUNK_BYTES as usize;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights");
        for length in [0, 1, chunk, 2 * chunk + 5] {
            let bytes: Vec<u8> = (0..length).map(|i| (i / 7) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let artifact = artifact_of("weights", &bytes).unwrap();
            assert_eq!(artifact_of_file("weights", &path).unwrap(), artifact);
            assert_eq!(artifact.chunks().len(), length.div_ceil(chunk));
            assert_eq!(artifact.digest(), digest(&bytes));
        }
        assert!(artifact_of("../x", b"").is_err());
    }
}

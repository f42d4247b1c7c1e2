//! What an artifact is, found out from its bytes.

use crate::digest;
use common::{Artifact, Digest, InvalidArtifact};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    let (mut whole, mut chunks, mut bytes) = (blake3::Hasher::new(), vec![], 0);
    each_chunk(path, |chunk| {
        whole.update(chunk);
        chunks.push(digest(chunk));
        bytes += chunk.len() as u64;
    })?;
    let digest = Digest::from_bytes(*whole.finalize().as_bytes());
    Artifact::new(name, bytes, digest, Artifact::CHUNK_BYTES, chunks)
        .map_err(|invalid| io::Error::new(io::ErrorKind::InvalidInput, invalid))
}

/// The digest of several files' contents, whatever the files are called and in whichever order they come: that of their digests, in
/// order, each once. `done` is told of every chunk that was read.
///
/// # Errors
/// The file that cannot be read, with what the system says.
pub fn digest_of_files(
    paths: impl IntoIterator<Item = PathBuf>,
    mut done: impl FnMut(),
) -> Result<Digest, (PathBuf, io::Error)> {
    let read = |path: PathBuf| match digest_of_file(&path, &mut done) {
        Ok(digest) => Ok(digest),
        Err(error) => Err((path, error)),
    };
    let digests: Result<_, _> = paths.into_iter().map(read).collect();
    digests.map(digest_of_all)
}

/// The digest of several contents, by theirs.
pub fn digest_of_all(digests: BTreeSet<Digest>) -> Digest {
    let bytes: Vec<u8> = digests.iter().flat_map(|digest| *digest.as_bytes()).collect();
    digest(&bytes)
}

fn digest_of_file(path: &Path, done: &mut impl FnMut()) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    each_chunk(path, |chunk| {
        hasher.update(chunk);
        done();
    })?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

/// Hands over a file, chunk by chunk.
fn each_chunk(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = Vec::with_capacity(Artifact::CHUNK_BYTES as usize);
    loop {
        chunk.clear();
        (&mut file).take(Artifact::CHUNK_BYTES).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        take(&chunk);
    }
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

    #[test]
    fn files_have_a_digest_together_whatever_they_are_called_and_another_one_when_a_byte_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let of = |files: &[(&str, &[u8])]| {
            let written = files.iter().map(|(name, bytes)| {
                let path = directory.path().join(name);
                std::fs::write(&path, bytes).unwrap();
                path
            });
            digest_of_files(written.collect::<Vec<_>>(), || ()).unwrap()
        };
        let large = vec![7; 3 << 20];
        let found = of(&[("a", &large), ("b", b"x")]);
        assert_eq!(found, of(&[("c", b"x"), ("d", &large)]));
        assert_eq!(found, digest_of_all([digest(&large), digest(b"x")].into()));
        assert_ne!(found, of(&[("a", &large), ("b", b"y")]));
        let (path, _) = digest_of_files([directory.path().join("absent")], || ()).unwrap_err();
        assert!(path.ends_with("absent"));
    }
}

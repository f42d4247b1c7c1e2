//! The frozen base model: fetched into the work directory once, and found there again after a restart.

use crate::{
    ActorError,
    learner_client::{ChunkSink, LearnerClient, Payload},
    shelf::Shelf,
};
use bytes::Bytes;
use common::Artifact;
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio::io::{AsyncWriteExt, BufWriter};

/// A file that grows by verified chunks.
struct FileSink(BufWriter<tokio::fs::File>);

impl ChunkSink for FileSink {
    async fn put(&mut self, chunk: Bytes) -> io::Result<()> {
        self.0.write_all(&chunk).await
    }
}

/// Makes `work_dir` hold every artifact under its name and offers it to others. A file appears under its name only once every
/// chunk was checked.
///
/// # Errors
/// [`ActorError::WorkDir`] naming the file, or whatever keeps an artifact from being fetched.
pub(crate) async fn fetch(
    learner: &LearnerClient,
    artifacts: &[Artifact],
    relays: &[SocketAddr],
    work_dir: &Path,
    shelf: &Shelf,
) -> Result<(), ActorError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ActorError::WorkDir { action, path, source }
    };
    tokio::fs::create_dir_all(work_dir)
        .await
        .map_err(failed("make", work_dir))?;
    for artifact in artifacts {
        let path = work_dir.join(artifact.name());
        if is_there(&path, artifact).await? {
            shelf.offer_file(artifact.digest(), path);
            continue;
        }
        let mut part = path.clone();
        part.add_extension("part");
        let file = tokio::fs::File::create(&part)
            .await
            .map_err(failed("create", &part))?;
        let mut file = FileSink(BufWriter::new(file));
        learner.fetch(artifact, Payload::Base, relays, &mut file).await?;
        file.0.flush().await.map_err(failed("write", &part))?;
        tokio::fs::rename(&part, &path)
            .await
            .map_err(failed("rename", &part))?;
        tracing::info!(
            file = artifact.name(),
            bytes = artifact.bytes(),
            "base model file fetched"
        );
        shelf.offer_file(artifact.digest(), path);
    }
    Ok(())
}

/// Whether a file already holds an artifact's bytes.
async fn is_there(path: &Path, artifact: &Artifact) -> Result<bool, ActorError> {
    let (file, expected) = (PathBuf::from(path), artifact.clone());
    let found = tokio::task::spawn_blocking(move || holds(&file, &expected)).await;
    let found = found.map_err(|source| ActorError::Task {
        task: "hashing",
        source,
    })?;
    found.map_err(|source| ActorError::WorkDir {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn holds(path: &Path, artifact: &Artifact) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() != artifact.bytes() => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(hasher.finalize().as_bytes() == artifact.digest().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_with_the_right_bytes_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let artifact = store::artifact_of("config.json", b"good").unwrap();
        assert!(!holds(&path, &artifact).unwrap());
        for (bytes, expected) in [("good", true), ("evil", false), ("goo", false)] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(holds(&path, &artifact).unwrap(), expected, "{bytes}");
        }
    }
}

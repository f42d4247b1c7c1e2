//! The weights of recent versions, by digest, and the announcement of each new one.
//!
//! Base-model files stay on disk and are read chunk by chunk; adapters are small and kept in memory. Bytes of a digest
//! never change. Who fetches, and how streams are framed, is the service's affair.

use crate::error::LearnerError;
use bytes::Bytes;
use common::{Digest, PolicyVersion};
use models::checkpoint::policy_files;
use models::peft::ADAPTER_WEIGHTS;
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Bytes that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// File name without directories.
    pub(crate) name: String,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// BLAKE3 of the bytes.
    pub(crate) digest: Digest,
}

/// What a version consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The version.
    pub(crate) version: PolicyVersion,
    /// The adapter.
    pub(crate) adapter: Artifact,
    /// Whether no version follows.
    pub(crate) last: bool,
}

/// Where an artifact's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    File(PathBuf),
}

/// What can be fetched and what was announced.
#[derive(Debug)]
pub(crate) struct Broadcast {
    base: Vec<(Artifact, PathBuf)>,
    adapter_config_json: String,
    adapters: Mutex<VecDeque<(Digest, Bytes)>>,
    keep: usize,
    newest: watch::Sender<Manifest>,
    published: std::sync::atomic::AtomicU64,
}

impl Broadcast {
    /// Offers the model in `policy_dir` as the base and `adapter` as the initial version. Keeps the last `keep`
    /// adapters.
    ///
    /// # Errors
    /// [`LearnerError::File`] naming the file that cannot be read.
    pub(crate) fn open(
        policy_dir: &Path,
        adapter_config_json: String,
        version: PolicyVersion,
        adapter: Bytes,
        keep: usize,
    ) -> Result<Self, LearnerError> {
        let manifest = Manifest {
            version,
            adapter: adapter_artifact(&adapter),
            last: false,
        };
        let adapters = VecDeque::from([(manifest.adapter.digest, adapter)]);
        Ok(Self {
            base: base_files(policy_dir)?,
            adapter_config_json,
            adapters: Mutex::new(adapters),
            keep,
            newest: watch::Sender::new(manifest),
            published: std::sync::atomic::AtomicU64::new(1),
        })
    }

    /// Announces a version.
    pub(crate) fn publish(&self, version: PolicyVersion, adapter: Bytes, last: bool) {
        let manifest = Manifest {
            version,
            adapter: adapter_artifact(&adapter),
            last,
        };
        let mut adapters = self.adapters();
        adapters.push_back((manifest.adapter.digest, adapter));
        while adapters.len() > self.keep {
            adapters.pop_front();
        }
        drop(adapters);
        self.published.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.newest.send_replace(manifest);
    }

    /// Announcements: the newest manifest and every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Manifest> {
        self.newest.subscribe()
    }

    /// Who follows the announcements.
    pub(crate) fn watchers(&self) -> usize {
        self.newest.receiver_count()
    }

    /// The newest manifest.
    pub(crate) fn newest(&self) -> Manifest {
        self.newest.borrow().clone()
    }

    /// The newest manifest with its adapter's bytes.
    pub(crate) fn newest_adapter(&self) -> (Manifest, Bytes) {
        // Publishing puts bytes before their announcement, and the announced ones are never dropped.
        let newest = self.newest();
        let adapters = self.adapters();
        let announced = adapters
            .iter()
            .find(|(digest, _)| *digest == newest.adapter.digest);
        let (_, bytes) = announced.expect("the newest adapter is kept");
        let bytes = bytes.clone();
        (newest, bytes)
    }

    /// How many versions were announced, the initial one included.
    pub(crate) fn publishes(&self) -> u64 {
        self.published.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The base model's files.
    pub(crate) fn base(&self) -> impl Iterator<Item = &Artifact> {
        self.base.iter().map(|(artifact, _)| artifact)
    }

    /// PEFT's `adapter_config.json`, the same for every version.
    pub(crate) fn adapter_config_json(&self) -> &str {
        &self.adapter_config_json
    }

    /// Where the bytes of a digest are; `None` when they were never offered or are no longer kept.
    pub(crate) fn source(&self, digest: &Digest) -> Option<Source> {
        if let Some((_, bytes)) = self.adapters().iter().find(|(offered, _)| offered == digest) {
            return Some(Source::Memory(bytes.clone()));
        }
        let (_, path) = self
            .base
            .iter()
            .find(|(artifact, _)| artifact.digest == *digest)?;
        Some(Source::File(path.clone()))
    }

    fn adapters(&self) -> MutexGuard<'_, VecDeque<(Digest, Bytes)>> {
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn adapter_artifact(bytes: &Bytes) -> Artifact {
    Artifact {
        name: ADAPTER_WEIGHTS.into(),
        bytes: bytes.len() as u64,
        digest: store::digest(bytes),
    }
}

/// The model's own files: whatever else lies in the directory is nobody's business.
fn base_files(directory: &Path) -> Result<Vec<(Artifact, PathBuf)>, LearnerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LearnerError::File {
            action: "read",
            path,
            source,
        }
    };
    let mut files = vec![];
    for name in policy_files(directory).map_err(LearnerError::Policy)? {
        let path = directory.join(&name);
        let file = File::open(&path).map_err(failed(&path))?;
        let bytes = file.metadata().map_err(failed(&path))?.len();
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(failed(&path))?;
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        files.push((Artifact { name, bytes, digest }, path));
    }
    files.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(files)
}

/// For tests: a policy's files, each holding its own name.
#[cfg(test)]
pub(crate) fn write_policy_files(directory: &Path) {
    for name in [
        "adwright.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ] {
        std::fs::write(directory.join(name), name).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::version;

    fn open(keep: usize) -> (Broadcast, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        write_policy_files(directory.path());
        for name in [".lock", "my notes.txt", "id_rsa"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let adapter = Bytes::from_static(b"v0");
        (
            Broadcast::open(directory.path(), "{}".into(), version(0), adapter, keep).unwrap(),
            directory,
        )
    }

    #[test]
    fn the_base_is_the_models_own_files_in_name_order_and_nothing_else_of_the_directory() {
        let (broadcast, _directory) = open(2);
        let base: Vec<_> = broadcast.base().cloned().collect();
        assert_eq!(
            base.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(),
            [
                "adwright.json",
                "config.json",
                "model.safetensors",
                "tokenizer.json"
            ]
        );
        assert_eq!(base[1].digest, store::digest(b"config.json"));
        assert!(matches!(broadcast.source(&base[1].digest), Some(Source::File(_))));
    }

    #[test]
    fn i4_a_version_keeps_its_bytes_until_old_ones_are_forgotten() {
        let (broadcast, _directory) = open(2);
        let mut watcher = broadcast.subscribe();
        assert_eq!(watcher.borrow_and_update().version, version(0));
        for number in 1..=2 {
            broadcast.publish(version(number), Bytes::from(format!("v{number}")), number == 2);
        }
        assert!(watcher.has_changed().unwrap());
        assert_eq!(broadcast.newest().version, version(2));
        assert!(broadcast.newest().last);
        assert!(broadcast.source(&store::digest(b"v0")).is_none());
        assert!(
            matches!(broadcast.source(&store::digest(b"v1")), Some(Source::Memory(b)) if &b[..] == b"v1")
        );
        assert_eq!(broadcast.publishes(), 3);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let nowhere = Path::new("/nonexistent/policy");
        let refusal = Broadcast::open(nowhere, String::new(), version(0), Bytes::new(), 1).unwrap_err();
        assert!(refusal.to_string().contains("/nonexistent/policy"));
    }
}

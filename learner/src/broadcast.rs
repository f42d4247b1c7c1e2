//! The weights of recent versions, by digest, and the announcement of each new one.
//!
//! The base model's weights stay on disk and are read chunk by chunk; adapters are small and kept in memory. Bytes of a
//! digest never change. What the base consists of is said in `base_model.rs`; who fetches, and how streams are framed, is the service's affair.

use crate::relays::RelayTree;
use bytes::Bytes;
use common::{Artifact, Canary, Digest, PolicyVersion};
use models::peft::ADAPTER_WEIGHTS;
use proto::artifact_stream::Source;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What a version consists of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manifest {
    /// The version.
    pub(crate) version: PolicyVersion,
    /// The adapter.
    pub(crate) adapter: Artifact,
    /// By which actors prove that the version takes effect; `None` where there is no policy.
    pub(crate) canary: Option<Arc<Canary>>,
    /// Whether no version follows.
    pub(crate) last: bool,
}

/// What a version brings: its weights and the proof of their effect.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    /// The adapter, safetensors in PEFT's layout.
    pub(crate) adapter: Bytes,
    /// What the learner says of some completions with it.
    pub(crate) canary: Option<Arc<Canary>>,
}

/// What can be fetched and what was announced.
#[derive(Debug)]
pub(crate) struct Broadcast {
    base: Vec<(Artifact, Source)>,
    adapter_config_json: String,
    adapters: Mutex<VecDeque<(Digest, Bytes)>>,
    keep: usize,
    newest: watch::Sender<Manifest>,
    published: AtomicU64,
    /// Payload sent, in bytes.
    sent: Arc<AtomicU64>,
    /// Who fetches from whom.
    pub(crate) relays: Arc<RelayTree>,
}

impl Broadcast {
    /// Offers the files of `base` and `weights` as the version that a start begins with, which may be the run's last. Keeps the
    /// last `keep` adapters; so many actors fetch from the learner, and from each relay.
    pub(crate) fn new(
        base: Vec<(Artifact, Source)>,
        adapter_config_json: String,
        version: PolicyVersion,
        weights: Weights,
        last: bool,
        keep: usize,
        relay_branches: usize,
    ) -> Self {
        let manifest = Manifest::new(version, &weights, last);
        let adapters = VecDeque::from([(manifest.adapter.digest(), weights.adapter)]);
        Self {
            base,
            adapter_config_json,
            adapters: Mutex::new(adapters),
            keep,
            newest: watch::Sender::new(manifest),
            published: AtomicU64::new(1),
            sent: Arc::default(),
            relays: Arc::new(RelayTree::new(relay_branches)),
        }
    }

    /// Announces a version.
    pub(crate) fn publish(&self, version: PolicyVersion, weights: Weights, last: bool) {
        let manifest = Manifest::new(version, &weights, last);
        let mut adapters = self.adapters();
        adapters.push_back((manifest.adapter.digest(), weights.adapter));
        while adapters.len() > self.keep {
            adapters.pop_front();
        }
        drop(adapters);
        self.published.fetch_add(1, Ordering::Relaxed);
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
            .find(|(digest, _)| *digest == newest.adapter.digest());
        let (_, bytes) = announced.expect("the newest adapter is kept");
        let bytes = bytes.clone();
        (newest, bytes)
    }

    /// How many versions were announced, the initial one included.
    pub(crate) fn publishes(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Counts payload as it is sent.
    pub(crate) fn meter(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }

    /// Payload sent so far, in bytes.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
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
        let (_, source) = self
            .base
            .iter()
            .find(|(artifact, _)| artifact.digest() == *digest)?;
        Some(source.clone())
    }

    fn adapters(&self) -> MutexGuard<'_, VecDeque<(Digest, Bytes)>> {
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manifest {
    fn new(version: PolicyVersion, weights: &Weights, last: bool) -> Self {
        let adapter = store::artifact_of(ADAPTER_WEIGHTS, &weights.adapter);
        let adapter = adapter.expect("PEFT's name is a plain file name");
        tracing::debug!(%version, adapter = %adapter.digest(), last, "version offered");
        Self {
            version,
            adapter,
            canary: weights.canary.clone(),
            last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::{version, weights};

    fn open(keep: usize) -> Broadcast {
        let config = Bytes::from_static(b"a configuration");
        let file = |name: &str, bytes: &[u8]| store::artifact_of(name, bytes).unwrap();
        let base = vec![
            (file("config.json", &config), Source::Memory(config)),
            (
                file("model.safetensors", b"weights"),
                Source::File("/models/model.safetensors".into()),
            ),
        ];
        Broadcast::new(base, "{}".into(), version(0), weights("v0"), false, keep, 2)
    }

    #[test]
    fn a_file_of_the_base_is_found_by_its_digest_wherever_its_bytes_are() {
        let broadcast = open(2);
        let base: Vec<_> = broadcast.base().cloned().collect();
        assert!(
            matches!(broadcast.source(&base[0].digest()), Some(Source::Memory(b)) if &b[..] == b"a configuration")
        );
        assert!(matches!(
            broadcast.source(&base[1].digest()),
            Some(Source::File(_))
        ));
    }

    #[test]
    fn i4_a_version_keeps_its_bytes_until_old_ones_are_forgotten() {
        let broadcast = open(2);
        let mut watcher = broadcast.subscribe();
        assert_eq!(watcher.borrow_and_update().version, version(0));
        for number in 1..=2 {
            broadcast.publish(version(number), weights(&format!("v{number}")), number == 2);
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
}

//! What an actor can pass on: the adapters that it has or is receiving, and the files of its base model.
//!
//! Only verified chunks come here, so whatever is passed on is what the learner published.

use bytes::{Bytes, BytesMut};
use common::{Artifact, Digest};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Adapters kept: the one that is sampled from, and the next one.
const KEPT: usize = 2;

/// Chunks lie in pieces of memory of so many bytes: each goes back to the system at once when its adapter is let go of, and leaves nothing
/// in the heap for which whoever samples would have to wait (`models`, `weights/laid_out.rs`).
const PIECE: u64 = 64 << 20;

/// The shelf of one actor.
pub(crate) struct Shelf {
    things: Mutex<Things>,
    /// Counts what was put here.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Things {
    adapters: VecDeque<Arc<Adapter>>,
    files: BTreeMap<Digest, PathBuf>,
}

/// An adapter of which some chunks may be missing yet.
pub(crate) struct Adapter {
    artifact: Artifact,
    chunks: Mutex<Vec<Bytes>>,
    /// How far it has come; `None` when the rest will not come.
    arrived: watch::Sender<Option<usize>>,
}

/// An adapter on its way: whoever receives it puts chunk after chunk. Dropped early, it is taken off the shelf.
pub(crate) struct Receiving {
    shelf: Arc<Shelf>,
    adapter: Arc<Adapter>,
    /// Room for the next chunks.
    piece: BytesMut,
    /// Bytes that have not come yet.
    missing: u64,
}

/// What can be passed on under a digest.
#[derive(Clone)]
pub(crate) enum Offer {
    /// An adapter.
    Adapter(Arc<Adapter>),
    /// A file.
    File(PathBuf),
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self {
            things: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Begins to receive an adapter.
    pub(crate) fn receive(self: &Arc<Self>, artifact: &Artifact) -> Receiving {
        let adapter = Arc::new(Adapter {
            artifact: artifact.clone(),
            chunks: Mutex::default(),
            arrived: watch::Sender::new(Some(0)),
        });
        let mut things = self.things();
        things
            .adapters
            .retain(|kept| kept.artifact.digest() != artifact.digest());
        things.adapters.push_back(adapter.clone());
        while things.adapters.len() > KEPT {
            things.adapters.pop_front();
        }
        drop(things);
        self.changes.send_modify(|changes| *changes += 1);
        Receiving {
            shelf: self.clone(),
            adapter,
            piece: BytesMut::new(),
            missing: artifact.bytes(),
        }
    }

    /// Offers a file whose bytes have this digest.
    pub(crate) fn offer_file(&self, digest: Digest, path: PathBuf) {
        self.things().files.insert(digest, path);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// What there is under a digest.
    pub(crate) fn find(&self, digest: &Digest) -> Option<Offer> {
        let things = self.things();
        let adapter = things
            .adapters
            .iter()
            .find(|kept| kept.artifact.digest() == *digest);
        let adapter = adapter.cloned().map(Offer::Adapter);
        adapter.or_else(|| things.files.get(digest).cloned().map(Offer::File))
    }

    /// An adapter that is here whole.
    pub(crate) fn whole(&self, digest: &Digest) -> Option<Arc<Adapter>> {
        match self.find(digest)? {
            Offer::Adapter(adapter) if adapter.is_whole() => Some(adapter),
            _ => None,
        }
    }

    /// What there is under a digest, as soon as there is something.
    pub(crate) async fn found(&self, digest: &Digest) -> Offer {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(offer) = self.find(digest) {
                return offer;
            }
            // The sender is in this shelf.
            let _changed = changes.changed().await;
        }
    }

    fn things(&self) -> MutexGuard<'_, Things> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Adapter {
    /// What it is.
    pub(crate) fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// A chunk, once it has arrived; `None` when it will not.
    pub(crate) async fn chunk(&self, index: usize) -> Option<Bytes> {
        let mut arrived = self.arrived.subscribe();
        let come = arrived
            .wait_for(|arrived| arrived.is_none_or(|count| count > index))
            .await;
        come.ok()?.as_ref()?;
        self.arrived_chunks().get(index).cloned()
    }

    /// The chunks that have come, in order: all bytes of a whole adapter, shared and not copied.
    pub(crate) fn chunks(&self) -> Vec<Bytes> {
        self.arrived_chunks().clone()
    }

    fn is_whole(&self) -> bool {
        self.arrived_chunks().len() == self.artifact.chunks().len()
    }

    fn arrived_chunks(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiving {
    /// The next chunk, verified.
    pub(crate) fn put(&mut self, chunk: Bytes) {
        if self.piece.capacity() < chunk.len() {
            let room = PIECE.min(self.missing) as usize;
            self.piece = BytesMut::with_capacity(room.max(chunk.len()));
        }
        self.piece.extend_from_slice(&chunk);
        self.missing = self.missing.saturating_sub(chunk.len() as u64);
        let chunk = self.piece.split().freeze();
        let mut chunks = self.adapter.arrived_chunks();
        chunks.push(chunk);
        let count = chunks.len();
        drop(chunks);
        self.adapter.arrived.send_replace(Some(count));
    }

    /// The adapter, of which every chunk must have come.
    pub(crate) fn adapter(&self) -> Arc<Adapter> {
        self.adapter.clone()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.adapter.is_whole() {
            return;
        }
        let mut things = self.shelf.things();
        things.adapters.retain(|kept| !Arc::ptr_eq(kept, &self.adapter));
        drop(things);
        self.adapter.arrived.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(number: u8) -> Artifact {
        let digest = Digest::from_bytes([number; 32]);
        Artifact::new("adapter.safetensors", 6, digest, 4, vec![digest; 2]).unwrap()
    }

    fn put_all(receiving: &mut Receiving) {
        receiving.put(Bytes::from_static(b"abcd"));
        receiving.put(Bytes::from_static(b"ef"));
    }

    #[tokio::test]
    async fn chunks_are_passed_on_as_they_come() {
        let shelf = Arc::new(Shelf::new());
        let digest = artifact(1).digest();
        let waiting = tokio::spawn({
            let shelf = shelf.clone();
            async move { shelf.found(&digest).await }
        });
        tokio::task::yield_now().await;
        let mut receiving = shelf.receive(&artifact(1));
        let Offer::Adapter(adapter) = waiting.await.unwrap() else {
            panic!("no adapter")
        };
        assert!(shelf.whole(&digest).is_none());
        let second = tokio::spawn({
            let adapter = adapter.clone();
            async move { adapter.chunk(1).await }
        });
        put_all(&mut receiving);
        assert_eq!(second.await.unwrap().unwrap(), "ef");
        assert_eq!(adapter.chunk(0).await.unwrap(), "abcd");
        drop(receiving);
        assert_eq!(shelf.whole(&digest).unwrap().chunks(), ["abcd", "ef"]);
    }

    #[tokio::test]
    async fn chunks_of_one_adapter_lie_in_one_piece() {
        let shelf = Arc::new(Shelf::new());
        let mut receiving = shelf.receive(&artifact(1));
        put_all(&mut receiving);
        let chunks = receiving.adapter().chunks();
        assert_eq!(chunks[0].as_ptr_range().end, chunks[1].as_ptr());
    }

    #[tokio::test]
    async fn what_is_given_up_is_nothing_to_wait_for() {
        let shelf = Arc::new(Shelf::new());
        let mut receiving = shelf.receive(&artifact(1));
        receiving.put(Bytes::from_static(b"abcd"));
        let adapter = receiving.adapter();
        drop(receiving);
        assert!(adapter.chunk(1).await.is_none());
        assert!(shelf.find(&artifact(1).digest()).is_none());
    }

    #[test]
    fn the_oldest_goes_first_and_files_stay() {
        let shelf = Arc::new(Shelf::new());
        shelf.offer_file(Digest::from_bytes([9; 32]), "model.safetensors".into());
        for number in 1..=3 {
            put_all(&mut shelf.receive(&artifact(number)));
        }
        assert!(shelf.whole(&artifact(1).digest()).is_none());
        assert!(shelf.whole(&artifact(2).digest()).is_some() && shelf.whole(&artifact(3).digest()).is_some());
        let file = shelf.find(&Digest::from_bytes([9; 32]));
        assert!(matches!(file, Some(Offer::File(path)) if path.ends_with("model.safetensors")));
    }
}

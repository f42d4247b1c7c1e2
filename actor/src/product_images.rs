//! The products' cut-outs: read from the run's store by digest, decoded once, kept within a bound.

use crate::failure::Failure;
use common::{Digest, FailureReason, LastUsed};
use image::RgbaImage;
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;

/// Where the store keeps product cut-outs.
const KIND: &str = "products";

/// The cut-outs of the products met so far.
pub(crate) struct ProductImages {
    store: Store,
    decoded: Mutex<LastUsed<Digest, Arc<RgbaImage>>>,
}

impl ProductImages {
    /// Of the run's `store`, of which so many bytes are kept decoded.
    pub(crate) fn new(store: Store, cache_bytes: usize) -> Self {
        Self {
            store,
            decoded: Mutex::new(LastUsed::within(cache_bytes)),
        }
    }

    /// One cut-out.
    pub(crate) async fn image(&self, digest: &Digest) -> Result<Arc<RgbaImage>, Failure> {
        let known = self
            .decoded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned();
        if let Some(image) = known {
            return Ok(image);
        }
        let bytes = self.store.get_content(KIND, digest).await;
        let bytes = bytes.map_err(|error| Failure::of_store(&error))?;
        let decoded = tokio::task::spawn_blocking(move || data::cutout::decode(&bytes)).await;
        let decoded = decoded.map_err(|error| Failure::passing(FailureReason::Storage, &error))?;
        let image = decoded.map(Arc::new).map_err(|error| {
            Failure::lasting(FailureReason::Storage, format!("product image {digest}: {error}"))
        })?;
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner).put(
            *digest,
            image.clone(),
            image.as_raw().len(),
        );
        Ok(image)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use common::{Blame, ProductId, ProductTask, RolloutOutcome, TaskId};

    /// A task about the product of this cut-out.
    pub(crate) fn task(image: Digest) -> ProductTask {
        let product = ProductId::new("lamp").unwrap();
        ProductTask {
            id: TaskId(3),
            product,
            caption: String::new(),
            instruction: String::new(),
            image,
        }
    }

    /// A cut-out of 16 x 16 pixels of one colour, as the learner stores it.
    pub(crate) async fn stored(store: &Store, level: u8) -> Digest {
        let picture = RgbaImage::from_pixel(16, 16, image::Rgba([level, 8, 7, 255]));
        let stored = store.put_content(KIND, data::cutout::encode_png(&picture)).await;
        stored.unwrap()
    }

    fn outcome(failure: Failure) -> RolloutOutcome {
        failure.outcome(TaskId(3))
    }

    #[tokio::test]
    async fn a_cut_out_is_read_once_and_a_missing_one_is_a_failure_that_may_pass() {
        let store = Store::open("memory:///").unwrap();
        let digest = stored(&store, 9).await;
        let images = ProductImages::new(store, 1 << 10);
        let (first, again) = (images.image(&digest).await, images.image(&digest).await);
        let first = first.unwrap();
        assert_eq!(
            (first.dimensions(), first.get_pixel(5, 5).0),
            ((16, 16), [9, 8, 7, 255])
        );
        assert!(Arc::ptr_eq(&first, &again.unwrap()));
        let missing = images.image(&Digest::from_bytes([1; 32])).await;
        assert!(matches!(
            outcome(missing.unwrap_err()),
            RolloutOutcome::Failed {
                reason: FailureReason::Storage,
                retryable: true,
                blame: Blame::Task,
                ..
            }
        ));
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_no_fault_of_the_task_and_damaged_bytes_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", directory.path().display())).unwrap();
        let digest = stored(&store, 9).await;
        let images = ProductImages::new(store.clone(), 1 << 10);
        let blamed = async || match outcome(images.image(&digest).await.unwrap_err()) {
            RolloutOutcome::Failed {
                reason: FailureReason::Storage,
                retryable: true,
                blame,
                ..
            } => blame,
            outcome => panic!("{outcome:?}"),
        };
        store
            .put(&store::content_key(KIND, &digest), &b"rot"[..])
            .await
            .unwrap();
        assert_eq!(blamed().await, Blame::Task);
        // Where the pictures were is something that cannot be looked into.
        let kind = directory.path().join(KIND);
        std::fs::remove_dir_all(&kind).unwrap();
        std::fs::write(&kind, "").unwrap();
        assert_eq!(blamed().await, Blame::Service);
    }

    #[tokio::test]
    async fn bytes_that_are_no_image_fail_for_good() {
        let store = Store::open("memory:///").unwrap();
        let digest = store.put_content(KIND, &b"no image"[..]).await.unwrap();
        let found = ProductImages::new(store, 1 << 10).image(&digest).await;
        assert!(matches!(
            outcome(found.unwrap_err()),
            RolloutOutcome::Failed {
                reason: FailureReason::Storage,
                retryable: false,
                ..
            }
        ));
    }
}

//! The products' cut-outs: read from the run's store by digest, decoded once, kept within a bound.

use crate::failure::{Failure, PerTask};
use common::{Digest, FailureReason, LastUsed, ProductTask};
use image::RgbaImage;
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;

/// Where the store keeps product cut-outs.
const KIND: &str = "products";

/// The cut-outs of the products leased so far.
pub(crate) struct ProductImages {
    store: Store,
    decoded: Mutex<LastUsed<Digest, Arc<RgbaImage>>>,
}

impl ProductImages {
    pub(crate) fn new(store: Store, cache_bytes: usize) -> Self {
        Self {
            store,
            decoded: Mutex::new(LastUsed::within(cache_bytes)),
        }
    }

    /// The cut-outs of some tasks' products.
    pub(crate) async fn of(&self, tasks: &[ProductTask]) -> PerTask<Arc<RgbaImage>> {
        let mut images = Vec::with_capacity(tasks.len());
        for task in tasks {
            images.push(self.image(&task.image).await);
        }
        images
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
        let bytes = bytes.map_err(|error| Failure::passing(FailureReason::Storage, &error))?;
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
mod tests {
    use super::*;
    use common::{ProductId, RolloutOutcome, TaskId};

    fn task(image: Digest) -> ProductTask {
        let product = ProductId::new("lamp").unwrap();
        ProductTask {
            id: TaskId(3),
            product,
            caption: String::new(),
            instruction: String::new(),
            image,
        }
    }

    fn outcome(failure: &Failure) -> RolloutOutcome {
        failure.clone().outcome(TaskId(3))
    }

    #[tokio::test]
    async fn a_cut_out_is_read_once_and_a_missing_one_is_a_failure_that_may_pass() {
        let store = Store::open("memory:///").unwrap();
        let picture = RgbaImage::from_pixel(3, 2, image::Rgba([9, 8, 7, 255]));
        let digest = store
            .put_content(KIND, data::cutout::encode_png(&picture))
            .await
            .unwrap();
        let images = ProductImages::new(store, 1 << 10);
        let found = images
            .of(&[task(digest), task(Digest::from_bytes([1; 32])), task(digest)])
            .await;
        assert_eq!(**found[0].as_ref().unwrap(), picture);
        assert!(Arc::ptr_eq(
            found[0].as_ref().unwrap(),
            found[2].as_ref().unwrap()
        ));
        let missing = outcome(found[1].as_ref().unwrap_err());
        assert!(matches!(
            missing,
            RolloutOutcome::Failed {
                reason: FailureReason::Storage,
                retryable: true,
                ..
            }
        ));
    }

    #[tokio::test]
    async fn bytes_that_are_no_image_fail_for_good() {
        let store = Store::open("memory:///").unwrap();
        let digest = store.put_content(KIND, &b"no image"[..]).await.unwrap();
        let found = ProductImages::new(store, 1 << 10).of(&[task(digest)]).await;
        let broken = outcome(found[0].as_ref().unwrap_err());
        assert!(matches!(
            broken,
            RolloutOutcome::Failed {
                reason: FailureReason::Storage,
                retryable: false,
                ..
            }
        ));
    }
}

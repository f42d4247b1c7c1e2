//! The products' cut-outs: read from the run's store by digest, decoded once, kept within a bound. Those of a lease are charged to
//! it beside.

use crate::failure::{Failure, PerTask};
use crate::room::Room;
use common::{Digest, FailureReason, LastUsed, ProductTask};
use image::RgbaImage;
use proto::ByteCharge;
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;

/// Where the store keeps product cut-outs.
const KIND: &str = "products";

/// The cut-outs of the products leased so far.
pub(crate) struct ProductImages {
    store: Store,
    decoded: Mutex<LastUsed<Digest, Arc<RgbaImage>>>,
    room: Room,
}

/// The cut-outs of a lease.
pub(crate) struct CutOuts {
    /// One a task, or why there is none.
    pub(crate) images: PerTask<Arc<RgbaImage>>,
    /// What they take, for as long as they are held.
    pub(crate) charge: ByteCharge,
}

impl ProductImages {
    pub(crate) fn new(store: Store, cache_bytes: usize, room: Room) -> Self {
        Self {
            store,
            decoded: Mutex::new(LastUsed::within(cache_bytes)),
            room,
        }
    }

    /// The bound for what a lease holds.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// The cut-outs of a lease's products, as far as there is room for them.
    pub(crate) async fn of(&self, tasks: &[ProductTask]) -> CutOuts {
        let charge = self.room.lease();
        let mut images = Vec::with_capacity(tasks.len());
        for task in tasks {
            let image = self.image(&task.image).await;
            images.push(image.and_then(|image| {
                let counted = self.room.cut_out(&charge, image.as_raw().len());
                counted.map(|()| image)
            }));
        }
        CutOuts { images, charge }
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

    fn room(bytes: usize) -> Room {
        Room::new(bytes, 2, 1)
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
        let images = ProductImages::new(store, 1 << 10, room(1 << 20));
        let found = images
            .of(&[task(digest), task(Digest::from_bytes([1; 32])), task(digest)])
            .await
            .images;
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
    async fn cut_outs_beyond_the_room_of_a_lease_fail_their_tasks_and_have_room_in_the_next() {
        let store = Store::open("memory:///").unwrap();
        let mut tasks = vec![];
        for level in [1, 2] {
            let picture = RgbaImage::from_pixel(16, 16, image::Rgba([level, 8, 7, 255]));
            let stored = store.put_content(KIND, data::cutout::encode_png(&picture)).await;
            tasks.push(task(stored.unwrap()));
        }
        let images = ProductImages::new(store, 0, room(16 * 16 * 4 + 100));
        let first = images.of(&tasks).await;
        assert!(first.images[0].is_ok());
        let refused = outcome(first.images[1].as_ref().unwrap_err());
        assert!(!refused.is_terminal(), "{refused:?}");
        drop(first);
        assert!(images.of(&tasks[1..]).await.images[0].is_ok());
    }

    #[tokio::test]
    async fn bytes_that_are_no_image_fail_for_good() {
        let store = Store::open("memory:///").unwrap();
        let digest = store.put_content(KIND, &b"no image"[..]).await.unwrap();
        let images = ProductImages::new(store, 1 << 10, room(1 << 20));
        let found = images.of(&[task(digest)]).await.images;
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

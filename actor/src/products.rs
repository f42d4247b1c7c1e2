//! The products of a lease as pictures: each task's cut-out, gathered once, with the task's share of the room.

use crate::{
    failure::{Failure, PerTask},
    product_images::ProductImages,
    room::Room,
    stages::Gather,
};
use common::ProductTask;
use image::RgbaImage;
use proto::{ByteBudget, ByteCharge};
use std::sync::Arc;

/// The cut-out of a task's product. Its share of the room is free again when nobody holds it any more.
#[derive(Debug)]
pub(crate) struct CutOut {
    /// The picture.
    pub(crate) image: Arc<RgbaImage>,
    /// The task's share of the room: the cut-out, completions, and then PNGs.
    pub(crate) share: ByteCharge,
}

/// The products that are leased.
pub(crate) struct Products {
    images: Arc<ProductImages>,
    room: Arc<Room>,
}

impl CutOut {
    /// One that takes no room.
    pub(crate) fn without_room(image: RgbaImage) -> Self {
        Self {
            image: Arc::new(image),
            share: Arc::new(ByteBudget::new(0)).charge(),
        }
    }
}

impl Products {
    /// Of these pictures, as many at a time as have `room`.
    pub(crate) fn new(images: Arc<ProductImages>, room: Arc<Room>) -> Self {
        Self { images, room }
    }

    async fn cut_out(&self, task: &ProductTask) -> Result<Arc<CutOut>, Failure> {
        let image = self.images.image(&task.image).await?;
        let share = self.room.task(image.as_raw().len())?;
        Ok(Arc::new(CutOut { image, share }))
    }
}

impl Gather for Products {
    fn has_room_for(&self, wanted: usize) -> usize {
        self.room.tasks(wanted)
    }

    /// One after the other: while it is decoded, a cut-out is not counted yet.
    async fn gather(&self, tasks: &[ProductTask]) -> PerTask<Arc<CutOut>> {
        let mut cut_outs = Vec::with_capacity(tasks.len());
        for task in tasks {
            cut_outs.push(self.cut_out(task).await);
        }
        cut_outs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product_images::tests::{stored, task};
    use common::Digest;
    use store::Store;

    const COMPLETIONS: usize = 64;

    fn products(store: Store, bytes: usize) -> Products {
        let room = Room::new(bytes, 2, 1);
        Products::new(Arc::new(ProductImages::new(store, 0)), Arc::new(room))
    }

    #[tokio::test]
    async fn every_task_has_its_own_cut_out_or_a_failure_that_is_its_own() {
        let store = Store::open("memory:///").unwrap();
        let (one, other) = (stored(&store, 1).await, stored(&store, 2).await);
        let missing = Digest::from_bytes([1; 32]);
        let products = products(store, 1 << 20);
        let found = products.gather(&[task(one), task(missing), task(other)]).await;
        let level = |position: usize| found[position].as_ref().unwrap().image.get_pixel(0, 0).0[0];
        assert_eq!((level(0), level(2)), (1, 2));
        assert!(found[1].is_err());
    }

    #[tokio::test]
    async fn cut_outs_beyond_the_room_of_a_lease_fail_their_tasks_and_have_room_in_the_next() {
        let store = Store::open("memory:///").unwrap();
        let tasks = [task(stored(&store, 1).await), task(stored(&store, 2).await)];
        let each = 16 * 16 * 4 + COMPLETIONS;
        let products = products(store, 2 * each - 1);
        let first = products.gather(&tasks).await;
        let refused = first[1].as_ref().unwrap_err().clone().outcome(tasks[1].id);
        assert!(!refused.is_terminal(), "{refused:?}");
        assert_eq!(products.room.held(), each);
        let held_on = first[0].as_ref().unwrap().clone();
        drop(first);
        assert_eq!(products.room.held(), each);
        drop(held_on);
        assert!(products.gather(&tasks[1..]).await[0].is_ok());
    }
}

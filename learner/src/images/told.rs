//! What became of the images that a ledger names, by one look at the store and, for what came after it, another.

use super::{ImageState, Images, digest_in, images_by_candidate};
use crate::ledger::Record;
use common::{Digest, RunId};
use std::collections::BTreeSet;
use store::{Store, StoreError};

/// What can be told of the images of a run.
pub(crate) struct ToldImages {
    images: Images,
    /// Those that were there at the first look.
    present: BTreeSet<Digest>,
    /// The images of the records before it may be gone.
    expired_before: u64,
}

impl ToldImages {
    /// Of a run in its store, whose ledger says that the images of the records before `expired_before` may be gone.
    pub(crate) async fn look(store: &Store, run: &RunId, expired_before: u64) -> Result<Self, StoreError> {
        let images = Images::of(store, run);
        let (mut present, mut listing) = (BTreeSet::new(), images.list()?);
        while let Some(found) = listing.next().await? {
            present.extend(digest_in(&found.key));
        }
        Ok(Self {
            images,
            present,
            expired_before,
        })
    }

    /// Of the image of each candidate of a record; `None` where none was made.
    pub(crate) async fn of(&self, record: &Record) -> Result<Vec<Option<ImageState>>, StoreError> {
        let mut states = vec![];
        for image in images_by_candidate(record) {
            states.push(match image {
                Some(image) => Some(self.of_image(&image, record.sequence).await?),
                None => None,
            });
        }
        Ok(states)
    }

    async fn of_image(&self, image: &Digest, sequence: u64) -> Result<ImageState, StoreError> {
        Ok(match self.present.contains(image) {
            true => ImageState::Present,
            false if sequence < self.expired_before => ImageState::Expired,
            // It may have come since.
            false if self.images.is_there(image).await? => ImageState::Present,
            false => ImageState::Missing,
        })
    }
}

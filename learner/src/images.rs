//! The images of a run's candidates, as actors put them into its store, and what can be told of one: it is there, it has expired,
//! or it is missing.

mod expiry;
mod told;

pub(crate) use expiry::Expiry;
pub(crate) use told::ToldImages;

use crate::ledger::Record;
use bytes::Bytes;
use common::{CandidateGroup, Digest, RunId};
use serde::Serialize;
use store::{Found, Listing, Store, StoreError, content_key};

/// Where actors of an earlier version put them, whatever the run. Nothing is removed there.
const SHARED: &str = "images";

/// What became of an image that the ledger names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// It is in the store.
    Present,
    /// It was old, and the learner has let it go (`learner.keep_images_days`).
    Expired,
    /// It should be in the store and is not.
    Missing,
}

/// How many of the images that outcomes name are where; one that several name counts for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ImageCounts {
    /// In the store.
    pub present: u64,
    /// Let go because they were old.
    pub expired: u64,
    /// Not in the store, and not let go.
    pub missing: u64,
}

impl ImageCounts {
    /// Counts one more.
    pub(crate) fn add(&mut self, state: ImageState) {
        let count = match state {
            ImageState::Present => &mut self.present,
            ImageState::Expired => &mut self.expired,
            ImageState::Missing => &mut self.missing,
        };
        *count += 1;
    }
}

/// The images of a run.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    store: Store,
    /// Each run has a place of its own: what one lets go is nothing that another one needs.
    place: String,
}

impl Images {
    /// Those of a run in its store.
    pub(crate) fn of(store: &Store, run: &RunId) -> Self {
        Self {
            store: store.clone(),
            place: run.images_prefix(),
        }
    }

    /// What the store knows of one; `None` when it is not there.
    async fn find(&self, image: &Digest) -> Result<Option<Found>, StoreError> {
        self.store.find(&content_key(&self.place, image)).await
    }

    /// What an image consists of, where it belongs or where an earlier version put it; `None` when it is not there, or has more
    /// than `most` bytes.
    pub(crate) async fn read(&self, image: &Digest, most: u64) -> Result<Option<Bytes>, StoreError> {
        for place in [self.place.as_str(), SHARED] {
            match self.store.find(&content_key(place, image)).await? {
                Some(found) if found.size <= most => {
                    return Ok(Some(self.store.get_content(place, image).await?));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Removes one; one that is not there is no error.
    async fn remove(&self, image: &Digest) -> Result<(), StoreError> {
        self.store.delete(&content_key(&self.place, image)).await
    }

    /// All that are there now, in no order.
    fn list(&self) -> Result<Listing, StoreError> {
        self.store.listing(&self.place)
    }

    /// Whether one is in the store, where it belongs or where an earlier version put it.
    pub(crate) async fn is_there(&self, image: &Digest) -> Result<bool, StoreError> {
        Ok(self.find(image).await?.is_some() || self.store.exists(&content_key(SHARED, image)).await?)
    }
}

/// The image of each candidate of a record, where one was made.
fn images_by_candidate(record: &Record) -> impl Iterator<Item = Option<Digest>> {
    let candidates = record.outcome.group().map_or(&[][..], CandidateGroup::candidates);
    candidates.iter().map(|candidate| candidate.image)
}

/// The images that a record names.
fn images_of(record: &Record) -> impl Iterator<Item = Digest> {
    images_by_candidate(record).flatten()
}

/// The digest in the key of an image. A file that is no image's, such as one whose writer died over it, has none.
fn digest_in(key: &str) -> Option<Digest> {
    format!("blake3:{}", key.rsplit('/').next()?).parse().ok()
}

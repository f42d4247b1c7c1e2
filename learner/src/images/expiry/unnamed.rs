//! Images that no record names go too: their actor died between storing and submitting them, or their scoring failed.

use super::super::{digest_in, images_of};
use super::Expiry;
use crate::error::LearnerError;
use crate::ledger::Record;
use futures::stream::TryStreamExt as _;
use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

/// How much longer than others they stay. No lease is longer than a day and a day's grace: whoever stored them will not name
/// them any more.
pub(super) const KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// How often it is looked for them: each time the run's images are listed and, where one is that old, the ledger is read.
pub(super) const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

impl Expiry {
    /// Removes the images that no record names whose images stay.
    ///
    /// # Errors
    /// [`LearnerError::Store`], [`LearnerError::Ledger`].
    pub(super) async fn remove_unnamed(&self) -> Result<u64, LearnerError> {
        let Some(settled) = self.checkpoints.settled().await? else {
            return Ok(0);
        };
        let keep = self.keep + self.unnamed;
        let mut unnamed = BTreeSet::new();
        let mut listing = self.images.list()?;
        while let Some(found) = listing.next().await? {
            unnamed.extend(digest_in(&found.key).filter(|_| found.written + keep <= settled.now));
        }
        if unnamed.is_empty() {
            return Ok(0);
        }
        // Of those that are named most have expired before.
        let from = self.last_note().await?.before;
        let mut records = pin!(self.records(Record::keys_from(from)).await?);
        while let Some(record) = records.try_next().await? {
            for image in images_of(&record) {
                unnamed.remove(&image);
            }
        }
        let removed = self.remove_old(unnamed, keep, &settled).await?;
        if removed > 0 {
            tracing::info!(images = removed, "images that no outcome names have gone");
        }
        Ok(removed)
    }
}

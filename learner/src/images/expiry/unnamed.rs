//! Images that no record names go too: their actor died between storing and submitting them, or their scoring failed.

use super::super::{digest_in, images_of};
use super::Expiry;
use crate::error::LearnerError;
use crate::ledger::Record;
use common::Digest;
use futures::stream::TryStreamExt as _;
use std::pin::pin;
use std::time::Duration;

/// How much longer than others they stay. No lease is longer than a day and a day's grace: whoever stored them will not name
/// them any more.
pub(super) const KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// How often it is looked for them: each time the run's images are listed and the ledger is read.
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
        // Before the ledger is read: what comes while it is read is young.
        let mut listing = self.images.list()?;
        let from = self.last_note().await?.before;
        let mut named = vec![];
        let mut records = pin!(self.records(Record::keys_from(from)).await?);
        while let Some(record) = records.try_next().await? {
            named.extend(images_of(&record).map(|image| beginning(&image)));
        }
        named.sort_unstable();
        let keep = self.keep + self.unnamed;
        let mut unnamed = vec![];
        while let Some(found) = listing.next().await? {
            let image = digest_in(&found.key).filter(|_| found.written + keep <= settled.now);
            unnamed.extend(image.filter(|image| named.binary_search(&beginning(image)).is_err()));
        }
        let removed = self.remove_old(unnamed, keep, &settled).await?;
        if removed > 0 {
            tracing::info!(images = removed, "images that no outcome names have gone");
        }
        Ok(removed)
    }
}

/// Eight bytes of a digest, so that a million take eight megabytes. Of two that begin alike one stays for nothing.
fn beginning(image: &Digest) -> u64 {
    let (beginning, _) = image
        .as_bytes()
        .split_first_chunk()
        .expect("a digest has 32 bytes");
    u64::from_be_bytes(*beginning)
}

//! Old images go, beside training and slowly. What goes is noted in the ledger first, so that whoever finds one gone knows why, and
//! so that a learner that was superseded, which can note nothing, removes nothing new.
//!
//! An image goes when it was written longer ago than is configured, and the record that names it lies before the cursor of every
//! checkpoint that is there: whichever of them a start goes on from, the record is in its weights or refused for good. Records
//! are in the order of their images' age but for some minutes, so one number says which records' images are gone. Two records
//! may name one image: an actor writes it again each time, so that it is as old as its last record, and one that a record behind
//! the cursors names stays.

mod unnamed;

use super::{Images, images_of};
use crate::checkpoint::{Checkpoints, Settled};
use crate::error::LearnerError;
use crate::ledger::{ExpiryNote, Identity, Record};
use common::{Digest, RunId};
use failpoint::Point;
use proto::InvalidMessage;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use store::{Journal, Store};
use tokio_util::sync::CancellationToken;

/// The pause after each removal: at most fifty a second, which no store and no training feels.
const PAUSE: Duration = Duration::from_millis(20);

/// Records whose images go under one note.
const BATCH: u64 = 1024;

/// Records with young images in a row after which it is not looked for old ones behind them. An image that is named again and
/// again stays young, and must not hold up the others.
const YOUNG: usize = 16;

/// How often it is looked for old images: ten times within the time that they are kept, within these.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// How much older than they must be the images of a record are when it is their turn, at most; by less do records differ from the
/// order of their images' age.
const SLACK: Duration = Duration::from_secs(3600);

/// Lets the images of one run expire.
pub(crate) struct Expiry {
    /// The ledger, open to this learner alone.
    ledger: Arc<Journal>,
    /// Where it is, for errors: key and store.
    place: (String, String),
    images: Images,
    checkpoints: Checkpoints,
    /// How long an image is kept.
    keep: Duration,
    /// How much longer an image stays that no record names.
    unnamed: Duration,
    /// The last note of which every image is gone, as far as this start knows.
    finished: ExpiryNote,
}

impl Expiry {
    /// Of a run in its store.
    pub(crate) fn new(store: &Store, run: &RunId, ledger: Arc<Journal>, keep: Duration) -> Self {
        Self {
            ledger,
            place: (Identity::ledger_of(run), store.url().to_string()),
            images: Images::of(store, run),
            checkpoints: Checkpoints::of(store, run),
            keep,
            unnamed: unnamed::KEPT,
            finished: ExpiryNote::default(),
        }
    }

    /// Looks again and again until `stop`. What fails is told and tried again: nothing that a run needs depends on it.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (shortest, longest) = INTERVALS;
        let interval = (self.keep / 10).clamp(shortest, longest);
        let again = async {
            // At the start, then daily.
            let mut waited = unnamed::INTERVAL;
            loop {
                match self.expire().await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "old images stay for now"),
                }
                if waited >= unnamed::INTERVAL {
                    waited = Duration::ZERO;
                    if let Err(error) = self.remove_unnamed().await {
                        tracing::warn!(%error, "images that nobody names stay for now");
                    }
                }
                tokio::time::sleep(interval).await;
                waited += interval;
            }
        };
        tokio::select! {
            () = again => {}
            () = stop.cancelled() => {}
        }
    }

    /// Lets the oldest go; whether there may be more.
    ///
    /// # Errors
    /// [`LearnerError::Store`], also when this learner has been superseded; [`LearnerError::Ledger`].
    async fn expire(&mut self) -> Result<bool, LearnerError> {
        let Some(settled) = self.checkpoints.settled().await? else {
            return Ok(false);
        };
        let last = self.last_note().await?;
        let needed = self.named_from(settled.cursor).await?;
        if last != self.finished {
            // An earlier start may have died over it.
            self.remove(last, &needed, &settled).await?;
        }
        let next = ExpiryNote {
            from: last.before,
            before: self.old_before(last.before, &settled).await?,
        };
        if next.before == next.from {
            return Ok(false);
        }
        self.ledger.append([next.stored()]).await?;
        let images = self.remove(next, &needed, &settled).await?;
        tracing::info!(images, records = next.before, "old images have gone");
        Ok(true)
    }

    /// What was let go last.
    async fn last_note(&self) -> Result<ExpiryNote, LearnerError> {
        let last = self.ledger.records(ExpiryNote::keys()).await?.next().await?;
        let last = last.map_or(Ok(ExpiryNote::default()), |(_, note)| ExpiryNote::read(&note));
        last.map_err(|source| self.damaged(source))
    }

    /// The first record from `from` on whose images stay.
    async fn old_before(&self, from: u64, settled: &Settled) -> Result<u64, LearnerError> {
        let age = self.keep + SLACK.min(self.keep / 10);
        let (mut before, mut young) = (from, 0);
        let mut records = self.ledger.records(Record::keys_from(from)).await?;
        while young < YOUNG
            && let Some(record) = self.next(&mut records).await?
            && record.sequence < settled.cursor.min(from + BATCH)
        {
            match self.oldest(&record).await? {
                Some(written) if written + age > settled.now => young += 1,
                // One without images says nothing of those before it.
                None if record.sequence > before => {}
                _ => (before, young) = (record.sequence + 1, 0),
            }
        }
        Ok(before)
    }

    /// When the oldest image of a record was written; `None` when it has none.
    async fn oldest(&self, record: &Record) -> Result<Option<Duration>, LearnerError> {
        let mut oldest: Option<Duration> = None;
        for image in images_of(record) {
            if let Some(found) = self.images.find(&image).await? {
                oldest = Some(oldest.map_or(found.written, |written| written.min(found.written)));
            }
        }
        Ok(oldest)
    }

    /// Removes the images of a note's records that are old and not `needed`; how many there were.
    async fn remove(
        &mut self,
        note: ExpiryNote,
        needed: &BTreeSet<Digest>,
        settled: &Settled,
    ) -> Result<u64, LearnerError> {
        let mut removed = 0;
        let mut records = self.ledger.records(Record::keys_from(note.from)).await?;
        while let Some(record) = self.next(&mut records).await? {
            if record.sequence >= note.before {
                break;
            }
            for image in images_of(&record) {
                if !needed.contains(&image) && self.remove_old(&image, self.keep, settled).await? {
                    failpoint::reach(Point::ImagesExpire);
                    removed += 1;
                }
            }
        }
        self.finished = note;
        Ok(removed)
    }

    /// Removes an image that was written longer ago than `keep`; whether it was there and that old.
    async fn remove_old(
        &self,
        image: &Digest,
        keep: Duration,
        settled: &Settled,
    ) -> Result<bool, LearnerError> {
        // Looked at right before: it may just have been written again.
        let found = self.images.find(image).await?;
        if found.is_none_or(|found| found.written + keep > settled.now) {
            return Ok(false);
        }
        self.images.remove(image).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(true)
    }

    /// The images that records from `sequence` on name.
    async fn named_from(&self, sequence: u64) -> Result<BTreeSet<Digest>, LearnerError> {
        let mut named = BTreeSet::new();
        let mut records = self.ledger.records(Record::keys_from(sequence)).await?;
        while let Some(record) = self.next(&mut records).await? {
            named.extend(images_of(&record));
        }
        Ok(named)
    }

    async fn next(&self, records: &mut store::Records) -> Result<Option<Record>, LearnerError> {
        let next = records.next().await?;
        let record = next.map(|(_, content)| Record::read(&content)).transpose();
        record.map_err(|source| self.damaged(source))
    }

    fn damaged(&self, source: InvalidMessage) -> LearnerError {
        LearnerError::Ledger {
            key: self.place.0.clone(),
            url: self.place.1.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;

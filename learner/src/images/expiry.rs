//! Old images go, beside training: slowly when they are few, and the faster the more of them wait, so that they go as quickly as
//! they come. What goes is noted in the ledger first, so that whoever finds one gone knows why, and so that a learner that was
//! superseded, which can note nothing, removes nothing new.
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
use bytes::Bytes;
use common::{Digest, RunId};
use failpoint::Point;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use proto::InvalidMessage;
use std::collections::BTreeSet;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use store::{Journal, Store};
use tokio_util::sync::CancellationToken;

/// How long a removal takes at least: one after the other they are fifty a second, which no store and no training feels.
const PAUSE: Duration = Duration::from_millis(20);

/// How many removals follow each other under one note: of twice as many images twice as many go at once. So the further the removal is
/// behind, the faster it is.
const ROUNDS: usize = 64;

/// Requests that are under way at once, at most. What this is worth: docs/stores.md.
const AT_ONCE: usize = 64;

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

/// Of which age the oldest image of a record is.
enum Age {
    /// It may go.
    Old,
    /// It stays.
    Young,
    /// There is none.
    None,
}

/// The images that records behind the cursors name, as far as these have been read.
struct Needed {
    images: BTreeSet<Digest>,
    /// The first record that has not been read.
    next: u64,
}

impl Needed {
    /// Those of the records from `cursor` on, none of which has been read.
    fn from(cursor: u64) -> Self {
        let images = BTreeSet::new();
        Self { images, next: cursor }
    }
}

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
                if let Err(error) = self.expire().await {
                    tracing::warn!(%error, "old images stay for now");
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

    /// Lets all go that are old by the newest checkpoint's time; whether there were records of such.
    ///
    /// # Errors
    /// [`LearnerError::Store`], also when this learner has been superseded; [`LearnerError::Ledger`].
    async fn expire(&mut self) -> Result<bool, LearnerError> {
        let Some(settled) = self.checkpoints.settled().await? else {
            return Ok(false);
        };
        let (mut last, mut any) = (self.last_note().await?, false);
        let mut needed = Needed::from(settled.cursor);
        if last != self.finished {
            // An earlier start may have died over it.
            self.remove(last, &mut needed, &settled).await?;
        }
        loop {
            let next = ExpiryNote {
                from: last.before,
                before: self.old_before(last.before, &settled).await?,
            };
            if next.before == next.from {
                return Ok(any);
            }
            self.ledger.append([next.stored()]).await?;
            let images = self.remove(next, &mut needed, &settled).await?;
            tracing::info!(images, records = next.before, "old images have gone");
            (last, any) = (next, true);
        }
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
        let keys = Record::keys_between(from, settled.cursor.min(from + BATCH));
        let ages = self
            .records(keys)
            .await?
            .map_ok(|record| self.age_of(record, age, settled));
        let mut ages = pin!(ages.try_buffered(AT_ONCE));
        let (mut before, mut young) = (from, 0);
        while young < YOUNG
            && let Some((sequence, age)) = ages.try_next().await?
        {
            match age {
                Age::Young => young += 1,
                // It says nothing of those before it.
                Age::None if sequence > before => {}
                Age::Old | Age::None => (before, young) = (sequence + 1, 0),
            }
        }
        Ok(before)
    }

    /// Of which age a record's oldest image is. One that is old tells, so of most records one is looked at.
    async fn age_of(
        &self,
        record: Record,
        old: Duration,
        settled: &Settled,
    ) -> Result<(u64, Age), LearnerError> {
        let mut age = Age::None;
        for image in images_of(&record) {
            match self.images.find(&image).await? {
                Some(found) if found.written + old <= settled.now => return Ok((record.sequence, Age::Old)),
                Some(_) => age = Age::Young,
                None => {}
            }
        }
        Ok((record.sequence, age))
    }

    /// Removes the images of a note's records that are old and not `needed`; how many there were.
    async fn remove(
        &mut self,
        note: ExpiryNote,
        needed: &mut Needed,
        settled: &Settled,
    ) -> Result<u64, LearnerError> {
        self.read_on(needed).await?;
        let images = self.images_under(note, needed).await?;
        let removed = self.remove_old(images, self.keep, settled).await?;
        self.finished = note;
        Ok(removed)
    }

    /// The images of a note's records that are not `needed`.
    async fn images_under(
        &self,
        note: ExpiryNote,
        needed: &Needed,
    ) -> Result<BTreeSet<Digest>, LearnerError> {
        let mut images = BTreeSet::new();
        let keys = Record::keys_between(note.from, note.before);
        let mut records = pin!(self.records(keys).await?);
        while let Some(record) = records.try_next().await? {
            images.extend(images_of(&record).filter(|image| !needed.images.contains(image)));
        }
        Ok(images)
    }

    /// Removes those of these images that were written longer ago than `keep`; how many there were.
    async fn remove_old(
        &self,
        images: BTreeSet<Digest>,
        keep: Duration,
        settled: &Settled,
    ) -> Result<u64, LearnerError> {
        let at_once = (images.len() / ROUNDS).clamp(1, AT_ONCE);
        let removals = stream::iter(images).map(|image| self.remove_if_old(image, keep, settled));
        let add = |removed, one| async move { Ok(removed + u64::from(one)) };
        removals.buffer_unordered(at_once).try_fold(0, add).await
    }

    /// Removes an image that was written longer ago than `keep`; whether it was there and that old.
    async fn remove_if_old(
        &self,
        image: Digest,
        keep: Duration,
        settled: &Settled,
    ) -> Result<bool, LearnerError> {
        let pause = tokio::time::sleep(PAUSE);
        // Looked at right before: it may just have been written again.
        let found = self.images.find(&image).await?;
        if found.is_none_or(|found| found.written + keep > settled.now) {
            return Ok(false);
        }
        self.images.remove(&image).await?;
        failpoint::reach(Point::ImagesExpire);
        pause.await;
        Ok(true)
    }

    /// Adds what records name that have come since this was read last.
    async fn read_on(&self, needed: &mut Needed) -> Result<(), LearnerError> {
        let mut records = pin!(self.records(Record::keys_from(needed.next)).await?);
        while let Some(record) = records.try_next().await? {
            needed.images.extend(images_of(&record));
            needed.next = record.sequence + 1;
        }
        Ok(())
    }

    /// The records under these keys.
    async fn records(
        &self,
        keys: Range<Bytes>,
    ) -> Result<impl Stream<Item = Result<Record, LearnerError>>, LearnerError> {
        let records = self.ledger.records(keys).await?;
        Ok(stream::try_unfold(records, async |mut records| {
            let Some((_, content)) = records.next().await? else {
                return Ok(None);
            };
            let record = Record::read(&content).map_err(|source| self.damaged(source))?;
            Ok(Some((record, records)))
        }))
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

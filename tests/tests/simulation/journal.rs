//! Journals in memory that outlive the hosts that write them: what is not flushed when its writer dies is lost, and a later
//! writer fences an earlier one.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{JournalEngine, ReadJournal, RecordStream, StoreError, WriteJournal};
use tokio::time::sleep;

/// How long a write takes, in milliseconds, and one in fifty.
const WRITE_MS: Range<u64> = 2..40;
const SLOW_WRITE_MS: Range<u64> = 500..6_000;

/// A disk, and what is written on it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryJournals(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    journals: BTreeMap<String, Written>,
    delays: ChaCha8Rng,
}

/// One journal as it is stored.
#[derive(Debug, Default)]
struct Written {
    records: BTreeMap<Bytes, Bytes>,
    epoch: u64,
}

struct Open {
    disk: MemoryJournals,
    name: String,
    epoch: u64,
    flush: Duration,
    /// Held by whoever writes, in the order of coming.
    turn: tokio::sync::Mutex<()>,
}

impl MemoryJournals {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            journals: BTreeMap::new(),
            delays: ChaCha8Rng::seed_from_u64(seed),
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delay(&self) -> Duration {
        let mut disk = self.disk();
        let range = match disk.delays.random_ratio(1, 50) {
            true => SLOW_WRITE_MS,
            false => WRITE_MS,
        };
        Duration::from_millis(disk.delays.random_range(range))
    }
}

#[async_trait]
impl JournalEngine for MemoryJournals {
    async fn open(&self, name: &str, flush: Duration) -> Result<Box<dyn WriteJournal>, StoreError> {
        sleep(self.delay()).await;
        let mut disk = self.disk();
        let written = disk.journals.entry(name.to_owned()).or_default();
        written.epoch += 1;
        Ok(Box::new(Open {
            disk: self.clone(),
            name: name.to_owned(),
            epoch: written.epoch,
            flush,
            turn: tokio::sync::Mutex::default(),
        }))
    }

    async fn read(&self, name: &str) -> Result<Box<dyn ReadJournal>, StoreError> {
        match self.disk().journals.get(name) {
            Some(written) => Ok(Box::new(Open {
                disk: self.clone(),
                name: name.to_owned(),
                epoch: written.epoch,
                flush: Duration::ZERO,
                turn: tokio::sync::Mutex::default(),
            })),
            None => Err(StoreError::NotFound {
                key: name.to_owned(),
                url: "simulated".into(),
            }),
        }
    }
}

#[async_trait]
impl WriteJournal for Open {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    async fn append(&self, records: Vec<(Bytes, Bytes)>) -> Result<(), StoreError> {
        sleep(self.flush).await;
        let _turn = self.turn.lock().await;
        // Who dies in here has written nothing; who dies after it has written and does not know.
        sleep(self.disk.delay()).await;
        {
            let mut disk = self.disk.disk();
            let written = disk.journals.entry(self.name.clone()).or_default();
            if written.epoch != self.epoch {
                return Err(StoreError::Fenced {
                    key: self.name.clone(),
                    url: "simulated".into(),
                });
            }
            written.records.extend(records);
        }
        sleep(self.disk.delay()).await;
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl ReadJournal for Open {
    async fn records(&self, keys: Range<Bytes>) -> Result<RecordStream, StoreError> {
        let disk = self.disk.disk();
        let written = disk.journals.get(&self.name);
        let found = written
            .into_iter()
            .flat_map(|written| written.records.range(keys.clone()));
        let found: Vec<_> = found
            .map(|(key, content)| Ok((key.clone(), content.clone())))
            .collect();
        Ok(stream::iter(found).boxed())
    }
}

//! A journal: records under keys, acknowledged when they are durable, written by one at a time.
//!
//! It is a SlateDB database below a key of the store, so that it needs no volume and lives wherever the store does. Whoever
//! opens it to write fences whoever wrote before: the earlier writer's next append fails, it can never be acknowledged.
//! On `file:` every write is synced to the disk.
//!
//! Nothing here knows what the records mean.

use crate::{Store, StoreError};
use bytes::Bytes;
use slatedb::config::{
    DbReaderOptions, GarbageCollectorDirectoryOptions, GarbageCollectorOptions, ScanOptions, Settings,
};
use slatedb::{CloseReason, Db, DbIterator, DbReader, DbReaderMode, ErrorKind, WriteBatch};
use std::ops::Range;
use std::time::Duration;

/// How long what no reader needs any more is kept. Where overwriting under a condition is not possible (`file:`), it must be
/// longer than a process may be suspended while it writes.
const GARBAGE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the write-ahead log of records that were written elsewhere too is kept: a reader that follows may be behind.
const WAL_AGE: Duration = Duration::from_secs(5 * 60);

/// Bytes that one request reads at least, where there are so many.
const READ_AHEAD: usize = 8 << 20;

/// A journal that is open to its one writer.
pub struct Journal {
    db: Db,
    place: Place,
}

/// A journal as it is stored: for readers beside its writer, or when there is none.
pub struct JournalReader {
    reader: DbReader,
    place: Place,
}

/// Records in the order of their keys.
pub struct Records {
    iterator: DbIterator,
    place: Place,
}

/// Where a journal is, for its errors.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    url: String,
}

impl Store {
    /// Opens the journal at the key `name` to write, making it when there is none. What is appended is durable at most
    /// `flush` plus one write of the store later: every flush is one object.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming the journal, [`StoreError::Key`].
    pub async fn open_journal(&self, name: &str, flush: Duration) -> Result<Journal, StoreError> {
        let (path, place) = (self.path(name)?, self.place(name));
        let settings = Settings {
            flush_interval: Some(flush),
            garbage_collector_options: Some(self.garbage()),
            ..Settings::default()
        };
        let builder = Db::builder(path, self.synced().backend).with_settings(settings);
        let db = builder
            .build()
            .await
            .map_err(|error| place.error("open", error))?;
        Ok(Journal { db, place })
    }

    /// Opens the journal at the key `name` to read what is durable, without disturbing its writer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, [`StoreError::Journal`] naming it, [`StoreError::Key`].
    pub async fn read_journal(&self, name: &str) -> Result<JournalReader, StoreError> {
        let (path, place) = (self.path(name)?, self.place(name));
        if self.list(&format!("{name}/manifest")).await?.is_empty() {
            let (key, url) = (place.name, place.url);
            return Err(StoreError::NotFound { key, url });
        }
        let options = DbReaderOptions::default();
        let reader = DbReader::open(path, self.backend.clone(), DbReaderMode::FollowLatest, options);
        let reader = reader.await.map_err(|error| place.error("open", error))?;
        Ok(JournalReader { reader, place })
    }

    fn place(&self, name: &str) -> Place {
        Place {
            name: name.to_owned(),
            url: self.url.to_string(),
        }
    }

    fn garbage(&self) -> GarbageCollectorOptions {
        let after = |min_age| {
            Some(GarbageCollectorDirectoryOptions {
                min_age,
                ..GarbageCollectorDirectoryOptions::default()
            })
        };
        GarbageCollectorOptions {
            manifest_options: after(GARBAGE_AGE),
            wal_options: after(WAL_AGE),
            compacted_options: after(GARBAGE_AGE),
            compactions_options: after(GARBAGE_AGE),
            // Without this a directory is never cleared: it has no overwriting under a condition.
            boundary_files_enabled: self.url.scheme() != "file",
            ..GarbageCollectorOptions::default()
        }
    }
}

impl Journal {
    /// How many times it has been opened to write, this time included.
    pub fn epoch(&self) -> u64 {
        self.db.manifest().writer_epoch()
    }

    /// Writes records, all or none, and returns when they are durable. Appends that are under way at the same time become
    /// durable together.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another writer has opened the journal since, [`StoreError::Journal`] naming it. In both
    /// cases nothing may be acknowledged.
    pub async fn append(&self, records: impl IntoIterator<Item = (Bytes, Bytes)>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        for (key, content) in records {
            batch.put(key, content);
        }
        let written = self.db.write(batch).await;
        let written = written.map_err(|error| self.place.error("write", error))?;
        // The write itself returns before it is durable, and does not notice the fence.
        let durable = written.await_durable().await;
        durable.map_err(|error| self.place.error("write", error))
    }

    /// The records of some keys.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming it.
    pub async fn records(&self, keys: Range<Bytes>) -> Result<Records, StoreError> {
        let iterator = self.db.scan_with_options(keys, &in_large_parts()).await;
        let iterator = iterator.map_err(|error| self.place.error("read", error))?;
        Ok(Records {
            iterator,
            place: self.place.clone(),
        })
    }

    /// Ends its background work. What was appended is durable without it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] or [`StoreError::Journal`] naming it.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.db
            .close()
            .await
            .map_err(|error| self.place.error("close", error))
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl JournalReader {
    /// The records of some keys.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming it.
    pub async fn records(&self, keys: Range<Bytes>) -> Result<Records, StoreError> {
        let iterator = self.reader.scan_with_options(keys, &in_large_parts()).await;
        let iterator = iterator.map_err(|error| self.place.error("read", error))?;
        Ok(Records {
            iterator,
            place: self.place.clone(),
        })
    }
}

impl Records {
    /// The next record's key and content.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming the journal.
    pub async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let next = self.iterator.next().await;
        let next = next.map_err(|error| self.place.error("read", error))?;
        Ok(next.map(|record| (record.key, record.value)))
    }
}

impl Place {
    fn error(&self, action: &'static str, source: slatedb::Error) -> StoreError {
        let (key, url) = (self.name.clone(), self.url.clone());
        match source.kind() {
            ErrorKind::Closed(CloseReason::Fenced) => StoreError::Fenced { key, url },
            _ => StoreError::Journal {
                action,
                key,
                url,
                source: Box::new(source),
            },
        }
    }
}

/// Records are read in order and seldom: a request for each block of them would be thousands on a cloud's store.
fn in_large_parts() -> ScanOptions {
    ScanOptions {
        read_ahead_bytes: READ_AHEAD,
        ..ScanOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_millis(5);

    /// The keys that begin with an r.
    fn all() -> Range<Bytes> {
        Bytes::from_static(b"r")..Bytes::from_static(b"s")
    }

    async fn stores(directory: &std::path::Path) -> Vec<Store> {
        let file = Store::open(&format!("file://{}", directory.display())).unwrap();
        vec![Store::open("memory:///").unwrap(), file]
    }

    fn record(number: u8, content: &str) -> (Bytes, Bytes) {
        (Bytes::from(vec![b'r', number]), Bytes::from(content.to_owned()))
    }

    async fn read(mut records: Records) -> Vec<(u8, String)> {
        let mut read = vec![];
        while let Some((key, content)) = records.next().await.unwrap() {
            read.push((key[1], String::from_utf8(content.to_vec()).unwrap()));
        }
        read
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_for_the_next_writer_and_for_readers() {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(directory.path()).await {
            let journal = store.open_journal("runs/a/ledger", FLUSH).await.unwrap();
            assert_eq!(journal.epoch(), 1);
            journal
                .append([record(2, "second"), record(1, "first")])
                .await
                .unwrap();
            journal
                .append([(Bytes::from_static(b"s"), Bytes::new())])
                .await
                .unwrap();
            let expected = [(1, "first".to_owned()), (2, "second".to_owned())];
            // Its writer is still there.
            let reader = store.read_journal("runs/a/ledger").await.unwrap();
            assert_eq!(read(reader.records(all()).await.unwrap()).await, expected);
            // The writer vanishes without closing.
            std::mem::forget(journal);
            let journal = store.open_journal("runs/a/ledger", FLUSH).await.unwrap();
            assert_eq!(journal.epoch(), 2);
            assert_eq!(read(journal.records(all()).await.unwrap()).await, expected);
            let later = Bytes::from_static(b"r\x02")..Bytes::from_static(b"s");
            assert_eq!(read(journal.records(later).await.unwrap()).await, expected[1..]);
            journal.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn i6_a_second_writer_fences_the_first_whose_records_never_count() {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(directory.path()).await {
            let first = store.open_journal("ledger", FLUSH).await.unwrap();
            first.append([record(1, "acknowledged")]).await.unwrap();
            let second = store.open_journal("ledger", FLUSH).await.unwrap();
            let refusal = first.append([record(2, "too late")]).await.unwrap_err();
            assert!(matches!(refusal, StoreError::Fenced { .. }), "{refusal:?}");
            assert!(second.epoch() > first.epoch());
            second.append([record(3, "newer")]).await.unwrap();
            let kept = read(second.records(all()).await.unwrap()).await;
            assert_eq!(kept, [(1, "acknowledged".to_owned()), (3, "newer".to_owned())]);
        }
    }

    #[tokio::test]
    async fn journals_of_one_store_do_not_touch_and_a_missing_one_is_named() {
        let store = Store::open("memory:///").unwrap();
        let one = store.open_journal("runs/a/ledger", FLUSH).await.unwrap();
        let other = store.open_journal("runs/b/ledger", FLUSH).await.unwrap();
        one.append([record(1, "of a")]).await.unwrap();
        other.append([record(1, "of b")]).await.unwrap();
        assert_eq!(
            read(one.records(all()).await.unwrap()).await,
            [(1, "of a".to_owned())]
        );
        let missing = store.read_journal("runs/c/ledger").await.err().unwrap();
        assert!(matches!(missing, StoreError::NotFound { key, .. } if key == "runs/c/ledger"));
    }
}

//! Journals in SlateDB: a database below a key of the store, so that it needs no volume and lives wherever the store does. On
//! `file:` every write is synced to the disk.

use super::{ReadJournal, RecordStream, WriteJournal};
use crate::{Store, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use slatedb::config::{
    CompactionWorkerOptions, CompactorOptions, DbReaderOptions, GarbageCollectorDirectoryOptions,
    GarbageCollectorOptions, ScanOptions, Settings,
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

/// Records are held in memory until so many bytes of them are written in their order, beside the log: a start reads the log again
/// from there. The engine's own 64 MiB take an hour of a small run to fill, and twice their size.
const TABLE_BYTES: usize = 8 << 20;

/// Bytes of records that may wait to be written in either way before a writer waits.
const UNWRITTEN_BYTES: usize = 64 << 20;

/// Requests that are under way at once for each table that is merged into another, and bytes of each. By its defaults the engine holds 8 MiB of
/// every such table, of which there are up to eight in a merge: more than a small learner has else.
const MERGE_REQUESTS: usize = 2;
const MERGE_BYTES: usize = 512 << 10;

/// One that is open to its writer.
struct Writer {
    db: Db,
    place: Place,
}

/// One as it is stored.
struct Reader {
    reader: DbReader,
    place: Place,
}

/// Where a journal is, for its errors.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    url: String,
}

impl Store {
    pub(super) async fn open_slate(
        &self,
        name: &str,
        flush: Duration,
    ) -> Result<Box<dyn WriteJournal>, StoreError> {
        let (path, place) = (self.path(name)?, self.place(name));
        let settings = Settings {
            flush_interval: Some(flush),
            l0_sst_size_bytes: TABLE_BYTES,
            max_unflushed_bytes: UNWRITTEN_BYTES,
            garbage_collector_options: Some(self.garbage()),
            compactor_options: Some(CompactorOptions {
                worker: Some(CompactionWorkerOptions {
                    max_fetch_tasks: MERGE_REQUESTS,
                    bytes_to_fetch: MERGE_BYTES,
                    ..CompactionWorkerOptions::default()
                }),
                ..CompactorOptions::default()
            }),
            ..Settings::default()
        };
        let builder = Db::builder(path, self.synced.clone()).with_settings(settings);
        let db = builder
            .build()
            .await
            .map_err(|error| place.error("open", error))?;
        Ok(Box::new(Writer { db, place }))
    }

    pub(super) async fn read_slate(&self, name: &str) -> Result<Box<dyn ReadJournal>, StoreError> {
        let (path, place) = (self.path(name)?, self.place(name));
        if self.list(&format!("{name}/manifest")).await?.is_empty() {
            let (key, url) = (place.name, place.url);
            return Err(StoreError::NotFound { key, url });
        }
        let options = DbReaderOptions::default();
        let reader = DbReader::open(path, self.backend.clone(), DbReaderMode::FollowLatest, options);
        let reader = reader.await.map_err(|error| place.error("open", error))?;
        Ok(Box::new(Reader { reader, place }))
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

#[async_trait]
impl WriteJournal for Writer {
    fn epoch(&self) -> u64 {
        self.db.manifest().writer_epoch()
    }

    async fn append(&self, records: Vec<(Bytes, Bytes)>) -> Result<(), StoreError> {
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

    async fn close(&self) -> Result<(), StoreError> {
        self.db
            .close()
            .await
            .map_err(|error| self.place.error("close", error))
    }
}

#[async_trait]
impl ReadJournal for Writer {
    async fn records(&self, keys: Range<Bytes>) -> Result<RecordStream, StoreError> {
        let found = self.db.scan_with_options(keys, &in_large_parts()).await;
        records(found, &self.place)
    }
}

#[async_trait]
impl ReadJournal for Reader {
    async fn records(&self, keys: Range<Bytes>) -> Result<RecordStream, StoreError> {
        let found = self.reader.scan_with_options(keys, &in_large_parts()).await;
        records(found, &self.place)
    }
}

/// What a scan found.
fn records(found: Result<DbIterator, slatedb::Error>, place: &Place) -> Result<RecordStream, StoreError> {
    let iterator = found.map_err(|error| place.error("read", error))?;
    let next = |(mut iterator, place): (DbIterator, Place)| async move {
        let next = iterator.next().await;
        let next = next.map_err(|error| place.error("read", error)).transpose()?;
        let record = next.map(|record| (record.key, record.value));
        Some((record, (iterator, place)))
    };
    Ok(stream::unfold((iterator, place.clone()), next).boxed())
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

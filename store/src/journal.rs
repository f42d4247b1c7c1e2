//! A journal: records under keys, acknowledged when they are durable, written by one at a time.
//!
//! Whoever opens it to write fences whoever wrote before: the earlier writer's next append fails, it can never be acknowledged.
//! What keeps it is an engine ([`JournalEngine`]): SlateDB below a key of the store (`journal/slate.rs`), unless the store was
//! given another one. Nothing here knows what the records mean.

mod slate;

use crate::{Store, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Records' keys and contents, one after the other.
pub type RecordStream = BoxStream<'static, Result<(Bytes, Bytes), StoreError>>;

/// Keeps journals.
#[async_trait]
pub trait JournalEngine: fmt::Debug + Send + Sync {
    /// Opens the journal `name` to write, as [`Store::open_journal`] says.
    ///
    /// # Errors
    /// As there.
    async fn open(&self, name: &str, flush: Duration) -> Result<Box<dyn WriteJournal>, StoreError>;

    /// Opens the journal `name` to read, as [`Store::read_journal`] says.
    ///
    /// # Errors
    /// As there.
    async fn read(&self, name: &str) -> Result<Box<dyn ReadJournal>, StoreError>;
}

/// A journal of an engine, to read.
#[async_trait]
pub trait ReadJournal: Send + Sync {
    /// The records of some keys, in the order of those.
    ///
    /// # Errors
    /// [`StoreError`] naming the journal.
    async fn records(&self, keys: Range<Bytes>) -> Result<RecordStream, StoreError>;
}

/// A journal of an engine, to write.
#[async_trait]
pub trait WriteJournal: ReadJournal {
    /// See [`Journal::epoch`].
    fn epoch(&self) -> u64;

    /// See [`Journal::append`].
    ///
    /// # Errors
    /// As there.
    async fn append(&self, records: Vec<(Bytes, Bytes)>) -> Result<(), StoreError>;

    /// See [`Journal::close`].
    ///
    /// # Errors
    /// As there.
    async fn close(&self) -> Result<(), StoreError>;
}

/// A journal that is open to its one writer.
pub struct Journal {
    name: String,
    open: Box<dyn WriteJournal>,
}

/// A journal as it is stored: for readers beside its writer, or when there is none.
pub struct JournalReader {
    open: Box<dyn ReadJournal>,
}

/// Records in the order of their keys.
pub struct Records {
    stream: RecordStream,
}

impl Store {
    /// The same store with journals kept by another engine.
    #[must_use]
    pub fn with_journals(self, engine: Arc<dyn JournalEngine>) -> Self {
        Self {
            journals: Some(engine),
            ..self
        }
    }

    /// Opens the journal at the key `name` to write, making it when there is none. What is appended is durable at most
    /// `flush` plus one write of the store later: every flush is one object.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming the journal, [`StoreError::Key`].
    pub async fn open_journal(&self, name: &str, flush: Duration) -> Result<Journal, StoreError> {
        let open = match &self.journals {
            Some(engine) => engine.open(name, flush).await?,
            None => self.open_slate(name, flush).await?,
        };
        Ok(Journal {
            name: name.to_owned(),
            open,
        })
    }

    /// Opens the journal at the key `name` to read what is durable, without disturbing its writer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, [`StoreError::Journal`] naming it, [`StoreError::Key`].
    pub async fn read_journal(&self, name: &str) -> Result<JournalReader, StoreError> {
        let open = match &self.journals {
            Some(engine) => engine.read(name).await?,
            None => self.read_slate(name).await?,
        };
        Ok(JournalReader { open })
    }
}

impl Journal {
    /// How many times it has been opened to write, this time included.
    pub fn epoch(&self) -> u64 {
        self.open.epoch()
    }

    /// Writes records, all or none, and returns when they are durable. Appends that are under way at the same time become
    /// durable together.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another writer has opened the journal since, [`StoreError::Journal`] naming it. In both
    /// cases nothing may be acknowledged.
    pub async fn append(&self, records: impl IntoIterator<Item = (Bytes, Bytes)>) -> Result<(), StoreError> {
        self.open.append(records.into_iter().collect()).await
    }

    /// The records of some keys.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming it.
    pub async fn records(&self, keys: Range<Bytes>) -> Result<Records, StoreError> {
        records(&*self.open, keys).await
    }

    /// Ends its background work. What was appended is durable without it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] or [`StoreError::Journal`] naming it.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.open.close().await
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl JournalReader {
    /// The records of some keys.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming it.
    pub async fn records(&self, keys: Range<Bytes>) -> Result<Records, StoreError> {
        records(&*self.open, keys).await
    }
}

/// The engine takes a range without keys for a mistake.
async fn records<J: ReadJournal + ?Sized>(journal: &J, keys: Range<Bytes>) -> Result<Records, StoreError> {
    let stream = match keys.is_empty() {
        true => stream::empty().boxed(),
        false => journal.records(keys).await?,
    };
    Ok(Records { stream })
}

impl Records {
    /// The next record's key and content.
    ///
    /// # Errors
    /// [`StoreError::Journal`] naming the journal.
    pub async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.stream.try_next().await
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
            let none = Bytes::from_static(b"r")..Bytes::from_static(b"r");
            assert_eq!(read(journal.records(none).await.unwrap()).await, []);
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

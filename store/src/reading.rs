//! What is known of a key, parts of its bytes, and all of them one after the other.

use crate::{Store, StoreError};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

/// What a store knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's own clock, since 1970. Times of one store can be compared with each other, and
    /// with nothing else.
    pub written: Duration,
}

/// The bytes of a key as they come.
pub struct Download {
    /// All bytes of the key, those before the first one asked for included.
    pub size: u64,
    stream: BoxStream<'static, Result<Bytes, object_store::Error>>,
    store: Store,
    key: String,
}

impl Download {
    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let next = self.stream.try_next().await;
        next.map_err(|error| self.store.backend_error("read", &self.key, error))
    }
}

/// The keys below a prefix as they come, in no order: for when there may be more than fit into memory.
pub struct Listing {
    stream: BoxStream<'static, Result<ObjectMeta, object_store::Error>>,
    store: Store,
    prefix: String,
}

impl Listing {
    /// What is known of the next one; `None` behind the last.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the prefix.
    pub async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        loop {
            let next = self.stream.try_next().await;
            let next = next.map_err(|error| self.store.backend_error("list", &self.prefix, error))?;
            let Some(meta) = next else {
                return Ok(None);
            };
            if let Some(key) = self.store.key_of(&meta.location) {
                return Ok(Some(found(key, &meta)));
            }
        }
    }
}

impl Store {
    /// What is known of the keys below `prefix`, a whole part of a key, one after the other.
    ///
    /// # Errors
    /// [`StoreError::Key`].
    pub fn listing(&self, prefix: &str) -> Result<Listing, StoreError> {
        let below = self.path(prefix)?;
        Ok(Listing {
            stream: self.backend.list(Some(&below)),
            store: self.clone(),
            prefix: prefix.to_owned(),
        })
    }

    /// What is known of a key; `None` when it holds nothing.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn find(&self, key: &str) -> Result<Option<Found>, StoreError> {
        match self.backend.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(found(key.to_owned(), &meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.backend_error("look up", key, error)),
        }
    }

    /// What is known of the keys below `prefix`, a whole part of a key, by key.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the prefix.
    pub async fn find_below(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        let (mut listing, mut below) = (self.listing(prefix)?, vec![]);
        while let Some(found) = listing.next().await? {
            below.push(found);
        }
        below.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(below)
    }

    /// Some of a key's bytes; a range that reaches beyond the last is cut there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Backend`], naming the key, the latter also when the range begins behind the
    /// last byte.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.backend.get_range(&self.path(key)?, range).await;
        bytes.map_err(|error| self.backend_error("read", key, error))
    }

    /// The bytes of a key from `offset` on, one after the other. A lost connection is taken up again where it broke.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Backend`], naming the key.
    pub async fn download(&self, key: &str, offset: u64) -> Result<Download, StoreError> {
        let options = GetOptions {
            range: (offset > 0).then_some(GetRange::Offset(offset)),
            ..GetOptions::default()
        };
        let got = self.backend.get_opts(&self.path(key)?, options).await;
        let got = got.map_err(|error| self.backend_error("read", key, error))?;
        Ok(Download {
            size: got.meta.size,
            stream: got.into_stream().boxed(),
            store: self.clone(),
            key: key.to_owned(),
        })
    }
}

fn found(key: String, meta: &ObjectMeta) -> Found {
    let written = std::time::SystemTime::from(meta.last_modified);
    Found {
        key,
        size: meta.size,
        written: written.duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}

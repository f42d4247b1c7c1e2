//! Bytes of any number, written in parts: what is under way takes bounded memory, and nothing can be read before the last part
//! is there.

use crate::content::digest_aside;
use crate::{Store, StoreError};
use bytes::{Bytes, BytesMut};
use common::Digest;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload, PutResult};
use std::fmt;
use std::path::Path;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

/// Bytes of a part. Clouds take at least 5 MiB and 10 000 parts: this reaches to 80 GB.
pub const PART: usize = 8 << 20;

/// Parts that are sent at a time: the memory of an upload from a file is this and one more, times [`PART`].
const AT_A_TIME: usize = 4;

/// An upload under way. One that is dropped before [`finish`](Self::finish) leaves nothing to read; its parts are removed as
/// far as the store can still be reached.
pub struct Upload {
    parts: Option<Box<dyn MultipartUpload>>,
    sending: JoinSet<Result<(), object_store::Error>>,
    buffer: BytesMut,
    store: Store,
    key: String,
}

impl Store {
    /// Begins to write under a key. What it held is replaced when the upload is finished, and not before.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn upload(&self, key: &str) -> Result<Upload, StoreError> {
        let begun = self.backend.put_multipart(&self.path(key)?).await;
        let parts = begun.map_err(|error| self.backend_error("write", key, error))?;
        Ok(Upload {
            parts: Some(parts),
            sending: JoinSet::new(),
            buffer: BytesMut::new(),
            store: self.clone(),
            key: key.to_owned(),
        })
    }

    /// Writes bytes of any number under a key, in parts when there are more than [`PART`], replacing what was there.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key; then nothing of them can be read.
    pub async fn put_large(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        if bytes.len() <= PART {
            return self.put(key, bytes).await;
        }
        let mut upload = self.upload(key).await?;
        match upload.write(bytes).await {
            Ok(()) => upload.finish().await,
            Err(error) => Err(upload.abandon(error).await),
        }
    }

    /// Writes a file of this machine under a key, replacing what was there, and returns the digest of what was written.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::Backend`] naming the key; then nothing of it can be read.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<Digest, StoreError> {
        let fault = |source| StoreError::File {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let mut file = tokio::fs::File::open(path).await.map_err(fault)?;
        if file.metadata().await.map_err(fault)?.len() <= PART as u64 {
            let bytes = Bytes::from(tokio::fs::read(path).await.map_err(fault)?);
            let digest = digest_aside(bytes.clone()).await;
            return self.put(key, bytes).await.map(|()| digest);
        }
        let mut upload = self.upload(key).await?;
        let mut hasher = blake3::Hasher::new();
        loop {
            let mut chunk = BytesMut::with_capacity(1 << 20);
            let sent = match file.read_buf(&mut chunk).await {
                Ok(0) => {
                    upload.finish().await?;
                    return Ok(Digest::from_bytes(*hasher.finalize().as_bytes()));
                }
                Ok(_) => {
                    hasher.update(&chunk);
                    upload.write(chunk.freeze()).await
                }
                Err(error) => Err(fault(error)),
            };
            if let Err(error) = sent {
                return Err(upload.abandon(error).await);
            }
        }
    }
}

impl Upload {
    /// Takes in the next bytes, and waits while enough parts are under way.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key, also of a part that was taken in before.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        // Whole parts go as they are, without being copied.
        while self.buffer.is_empty() && bytes.len() >= PART {
            let part = bytes.split_to(PART);
            self.send(part).await?;
        }
        while !bytes.is_empty() {
            let room = PART - self.buffer.len();
            let taken = bytes.split_to(room.min(bytes.len()));
            self.buffer.extend_from_slice(&taken);
            if self.buffer.len() == PART {
                let part = std::mem::take(&mut self.buffer).freeze();
                self.send(part).await?;
            }
        }
        Ok(())
    }

    /// Sends what is left and makes everything readable under the key.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key; then nothing of it can be read.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        match self.complete().await {
            Ok(_) => {
                self.parts = None;
                Ok(())
            }
            Err(error) => Err(self.abandon(error).await),
        }
    }

    /// Takes back what was sent, as far as the store can be reached, and returns `why`.
    pub async fn abandon(mut self, why: StoreError) -> StoreError {
        self.sending.shutdown().await;
        if let Some(mut parts) = self.parts.take()
            && let Err(error) = parts.abort().await
        {
            tracing::warn!(key = self.key, %error, "parts of an upload could not be removed");
        }
        why
    }

    async fn send(&mut self, part: Bytes) -> Result<(), StoreError> {
        while self.sending.len() >= AT_A_TIME {
            self.sent().await?;
        }
        if let Some(parts) = &mut self.parts {
            self.sending.spawn(parts.put_part(PutPayload::from_bytes(part)));
        }
        Ok(())
    }

    /// Waits for one part.
    async fn sent(&mut self) -> Result<(), StoreError> {
        let Some(sent) = self.sending.join_next().await else {
            return Ok(());
        };
        let sent = sent.unwrap_or_else(|source| Err(object_store::Error::JoinError { source }));
        sent.map_err(|error| self.store.backend_error("write", &self.key, error))
    }

    async fn complete(&mut self) -> Result<Option<PutResult>, StoreError> {
        if !self.buffer.is_empty() {
            let part = std::mem::take(&mut self.buffer).freeze();
            self.send(part).await?;
        }
        while !self.sending.is_empty() {
            self.sent().await?;
        }
        let Some(parts) = &mut self.parts else {
            return Ok(None);
        };
        let completed = parts.complete().await;
        let completed = completed.map_err(|error| self.store.backend_error("write", &self.key, error));
        completed.map(Some)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else {
            return;
        };
        // Parts that are still being sent are stopped with the set of them.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { parts.abort().await });
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("store", &self.store)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

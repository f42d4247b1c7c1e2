//! Bulk bytes by key over `object_store`: product images, rendered images, checkpoints.
//!
//! Content is addressed by its BLAKE3 digest, written once and checked on every read, so that any copy may serve it.
//! Nothing here knows what the bytes mean.

mod content;
mod error;

pub use error::StoreError;

use bytes::Bytes;
use common::Digest;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use std::sync::Arc;
use url::Url;

/// The BLAKE3 digest of some bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// A place for bulk bytes, such as a directory or a bucket. Cloning shares the connection.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn ObjectStore>,
    root: Path,
    url: Url,
}

impl Store {
    /// Opens the store at a URL: `file:///absolute/directory` (made when it does not exist) or `memory:///`.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the text is no URL of a supported scheme, [`StoreError::Backend`] when the directory
    /// cannot be made.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let fault = |reason: String| StoreError::Url {
            url: url.to_owned(),
            reason,
        };
        let parsed = Url::parse(url)
            .map_err(|e| fault(format!("{e}; expected file:///absolute/directory or memory:///")))?;
        match parsed.scheme() {
            "memory" => {}
            "file" => {
                let directory = parsed
                    .to_file_path()
                    .map_err(|()| fault("the path must be absolute".into()))?;
                std::fs::create_dir_all(&directory)
                    .map_err(|e| fault(format!("cannot make the directory: {e}")))?;
            }
            other => {
                return Err(fault(format!(
                    "scheme {other:?} is not supported; use file or memory"
                )));
            }
        }
        let (backend, root) = object_store::parse_url(&parsed).map_err(|e| fault(e.to_string()))?;
        Ok(Self {
            backend: Arc::from(backend),
            root,
            url: parsed,
        })
    }

    /// The URL it was opened with.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Writes bytes under a key, replacing what was there.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        let payload = PutPayload::from_bytes(bytes.into());
        self.backend
            .put(&self.path(key)?, payload)
            .await
            .map_err(|e| self.backend_error("write", key, e))?;
        Ok(())
    }

    /// The bytes under a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Backend`], naming the key.
    pub async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let result = self
            .backend
            .get(&self.path(key)?)
            .await
            .map_err(|e| self.backend_error("read", key, e))?;
        result
            .bytes()
            .await
            .map_err(|e| self.backend_error("read", key, e))
    }

    /// Whether a key holds bytes.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match self.backend.head(&self.path(key)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.backend_error("look up", key, e)),
        }
    }

    /// Removes a key; one that holds nothing is no error.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.backend.delete(&self.path(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.backend_error("remove", key, e)),
        }
    }

    fn path(&self, key: &str) -> Result<Path, StoreError> {
        let relative = Path::parse(key).map_err(|e| StoreError::Key {
            key: key.to_owned(),
            reason: e.to_string(),
        })?;
        Ok(self.root.parts().chain(relative.parts()).collect())
    }

    fn backend_error(&self, action: &'static str, key: &str, source: object_store::Error) -> StoreError {
        let (key, url) = (key.to_owned(), self.url.to_string());
        match source {
            object_store::Error::NotFound { .. } => StoreError::NotFound { key, url },
            source => StoreError::Backend {
                action,
                key,
                url,
                source: Box::new(source),
            },
        }
    }
}

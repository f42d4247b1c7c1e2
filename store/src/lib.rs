//! Bulk bytes by key over `object_store`: product images, rendered images, checkpoints.
//!
//! Records that are small and many go to a journal ([`Journal`]). Content is addressed by its BLAKE3 digest, written once and checked on every read, so that any copy may serve it.
//! Nothing here knows what the bytes mean.

mod artifact;
mod content;
mod error;
mod journal;

pub use artifact::{artifact_of, artifact_of_file};
pub use content::content_key;
pub use error::StoreError;
pub use journal::{Journal, JournalReader, Records};

use bytes::Bytes;
use common::Digest;
use futures::TryStreamExt as _;
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, local::LocalFileSystem, path::Path,
};
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

    /// The same store with every write synced to the disk before it counts as done: what is acknowledged survives a power cut.
    /// Only a directory makes a difference.
    #[must_use]
    pub fn synced(&self) -> Self {
        let backend: Arc<dyn ObjectStore> = match self.url.scheme() {
            "file" => Arc::new(LocalFileSystem::new().with_fsync(true)),
            _ => self.backend.clone(),
        };
        Self {
            backend,
            ..self.clone()
        }
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

    /// Writes bytes under a key that holds none yet.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when it holds some, [`StoreError::Backend`] naming the key.
    pub async fn create(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        let payload = PutPayload::from_bytes(bytes.into());
        let once = PutOptions::from(PutMode::Create);
        match self.backend.put_opts(&self.path(key)?, payload, once).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(StoreError::Exists {
                key: key.to_owned(),
                url: self.url.to_string(),
            }),
            Err(e) => Err(self.backend_error("write", key, e)),
        }
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

    /// The keys below `prefix`, a whole part of a key, sorted.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the prefix.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let below = self.path(prefix)?;
        let found: Result<Vec<_>, _> = self.backend.list(Some(&below)).try_collect().await;
        let found = found.map_err(|e| self.backend_error("list", prefix, e))?;
        let within = |path: &Path| {
            let parts = path.prefix_match(&self.root)?;
            Some(
                parts
                    .map(|part| part.as_ref().to_owned())
                    .collect::<Vec<_>>()
                    .join("/"),
            )
        };
        let mut keys: Vec<String> = found
            .iter()
            .filter_map(|object| within(&object.location))
            .collect();
        keys.sort_unstable();
        Ok(keys)
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

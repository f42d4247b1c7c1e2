//! Bulk bytes by key over `object_store`: product images, rendered images, checkpoints, in a directory or a cloud's bucket.
//!
//! Records that are small and many go to a journal ([`Journal`]). Content is addressed by its BLAKE3 digest, written once and
//! checked on every read, so that any copy may serve it. Nothing here knows what the bytes mean.

mod artifact;
mod aside;
mod backend;
mod cache;
mod checksum;
mod content;
mod credentials;
mod directory;
mod error;
mod fetch;
mod hub;
mod inventory;
mod journal;
mod part;
mod probe;
mod reading;
mod settings;
mod upload;

pub use artifact::{artifact_of, artifact_of_file, digest_of_all, digest_of_files};
pub use aside::{SHORT, aside};
pub use cache::{Brought, Told};
pub use checksum::Checksum;
pub use content::{content_key, digest_aside};
pub use directory::Pushed;
pub use error::StoreError;
pub use fetch::file_digest;
pub use hub::{Hub, HubModel};
pub use journal::{Journal, JournalEngine, JournalReader, ReadJournal, RecordStream, Records, WriteJournal};
pub use probe::{probe_directory, probe_file};
pub use reading::{Download, Found, Listing};
pub use settings::StoreSettings;
pub use upload::{PART, Upload};

use backend::Backend;
use bytes::Bytes;
use common::Digest;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use url::Url;

/// The BLAKE3 digest of some bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// A place for bulk bytes, such as a directory or a bucket. Cloning shares the connection.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn ObjectStore>,
    /// The same place; every write is synced to the disk before it counts as done.
    synced: Arc<dyn ObjectStore>,
    root: Path,
    url: Url,
    credentials: Cow<'static, str>,
    /// What keeps journals; `None`: SlateDB in this store.
    journals: Option<Arc<dyn JournalEngine>>,
}

impl Store {
    /// Opens the store at a URL with the default settings: `file:///absolute/directory`, `memory:///`, or a prefix in a bucket:
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` and their other spellings (`s3a`, `abfs`, `abfss`,
    /// `adl`). Nothing is asked of a bucket yet, and a directory is made when something is first written.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the text is no URL of a supported scheme, something else is where the directory would be, or
    /// something that a bucket needs is missing in the environment.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, &StoreSettings::default())
    }

    /// Opens the store at a URL with these time-outs and retries.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(url: &str, settings: &StoreSettings) -> Result<Self, StoreError> {
        let parsed = Url::parse(url).map_err(|error| StoreError::Url {
            // What is no URL may hold anything.
            url: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            reason: format!("{error}; {}", backend::EXPECTED),
        })?;
        let Backend {
            store,
            synced,
            root,
            credentials,
        } = backend::connect(&parsed, settings)?;
        Ok(Self {
            backend: store,
            synced,
            root,
            url: parsed,
            credentials,
            journals: None,
        })
    }

    /// A store in the root of whatever `backend` is, known by `url`.
    pub fn over(backend: Arc<dyn ObjectStore>, url: Url) -> Self {
        Self {
            synced: backend.clone(),
            backend,
            root: Path::default(),
            url,
            credentials: "".into(),
            journals: None,
        }
    }

    /// Whether a text is a URL that a store can be opened at, as far as the text alone tells.
    pub fn is_url(text: &str) -> bool {
        Url::parse(text).is_ok_and(|url| backend::scheme(&url).is_ok())
    }

    /// The same store with every write synced to the disk before it counts as done: what is acknowledged survives a power cut.
    /// Only a directory makes a difference.
    #[must_use]
    pub fn synced(&self) -> Self {
        Self {
            backend: self.synced.clone(),
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

    /// Writes bytes under a key that holds none yet, or these.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when it holds others, [`StoreError::Backend`] naming the key.
    pub async fn create(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        let bytes = bytes.into();
        let payload = PutPayload::from_bytes(bytes.clone());
        let once = PutOptions::from(PutMode::Create);
        match self.backend.put_opts(&self.path(key)?, payload, once).await {
            Ok(_) => Ok(()),
            // The answer may have been lost and not the bytes: then whoever asks again, as clients of stores do by themselves, finds them there.
            Err(error) => match self.get(key).await {
                Ok(found) if found == bytes => Ok(()),
                _ => Err(self.not_created(key, error)),
            },
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
        let below = self.find_below(prefix).await?;
        Ok(below.into_iter().map(|found| found.key).collect())
    }

    /// The key of a path of the backend; `None` for one that is not in this store.
    fn key_of(&self, path: &Path) -> Option<String> {
        let parts: Vec<String> = path
            .prefix_match(&self.root)?
            .map(|part| part.as_ref().to_owned())
            .collect();
        Some(parts.join("/"))
    }

    fn path(&self, key: &str) -> Result<Path, StoreError> {
        let relative = Path::parse(key).map_err(|e| StoreError::Key {
            key: key.to_owned(),
            reason: e.to_string(),
        })?;
        Ok(self.root.parts().chain(relative.parts()).collect())
    }

    fn not_created(&self, key: &str, error: object_store::Error) -> StoreError {
        match error {
            object_store::Error::AlreadyExists { .. } => StoreError::Exists {
                key: key.to_owned(),
                url: self.url.to_string(),
            },
            error => self.backend_error("write", key, error),
        }
    }

    fn backend_error(&self, action: &'static str, key: &str, source: object_store::Error) -> StoreError {
        let (key, url) = (key.to_owned(), self.url.to_string());
        match source {
            object_store::Error::NotFound { .. } => StoreError::NotFound { key, url },
            source if !self.credentials.is_empty() && is_denial(&source) => StoreError::Denied {
                action,
                key,
                url,
                credentials: self.credentials.clone(),
                source: Box::new(source),
            },
            source => StoreError::Backend {
                action,
                key,
                url,
                source: Box::new(source),
            },
        }
    }
}

/// Whether a listing was answered that it is not allowed: the library has no kind of error for that either.
fn is_refused_listing(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["401", "403"]
        .iter()
        .any(|status| text.contains(&format!("status code: {status}")))
}

/// Whether a request failed for want of a right to make it, or of credentials.
fn is_denial(error: &object_store::Error) -> bool {
    use object_store::Error::{PermissionDenied, Unauthenticated};
    // A machine without a metadata service has no credentials; the library has no kind of error for that.
    const METADATA: [&str; 3] = ["169.254.169.254", "metadata.google.internal", "metadata/identity"];
    let by_metadata = || {
        let text = error.to_string();
        METADATA.iter().any(|host| text.contains(host))
    };
    matches!(error, PermissionDenied { .. } | Unauthenticated { .. })
        || is_refused_listing(error)
        || by_metadata()
}

impl fmt::Debug for Store {
    /// Where it is. The client below knows its credentials, and is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! Bytes of a store brought into a file: resumed where they broke off, checked, and under their name only when they are whole.

use crate::part::{Source, Stream, Wanted, blocking, fault};
use crate::{Store, StoreError};
use common::Digest;
use futures::StreamExt as _;
use futures::stream::try_unfold;
use std::fs::File;
use std::io;
use std::path::Path;

impl Store {
    /// Brings the bytes of a key into the file `path`, whose directory exists, and returns how many came over the network.
    /// What an earlier try has left in `<path>.part` is not asked for again; a file that is there and has the digest is
    /// left as it is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the bytes do not have the digest, [`StoreError::NotFound`], [`StoreError::Backend`]
    /// naming the key, [`StoreError::File`].
    pub async fn fetch(&self, key: &str, expected: &Digest, path: &Path) -> Result<u64, StoreError> {
        if file_digest(path).await?.is_some_and(|found| found == *expected) {
            return Ok(0);
        }
        let found = self.find(key).await?.ok_or_else(|| StoreError::NotFound {
            key: key.to_owned(),
            url: self.url.to_string(),
        })?;
        let wanted = Wanted {
            name: key.to_owned(),
            bytes: found.size,
            checksum: (*expected).into(),
        };
        wanted.bring(self, path, &|_| ()).await
    }
}

impl Source for Store {
    fn url(&self) -> String {
        self.url.to_string()
    }

    async fn open(&self, wanted: &Wanted, offset: u64) -> Result<Stream, StoreError> {
        let download = self.download(&wanted.name, offset).await?;
        let bytes = try_unfold(download, |mut download| async move {
            Ok(download.next().await?.map(|bytes| (bytes, download)))
        });
        Ok(bytes.boxed())
    }
}

/// The digest of a file; `None` when there is none.
///
/// # Errors
/// [`StoreError::File`].
pub async fn file_digest(path: &Path) -> Result<Option<Digest>, StoreError> {
    let read = path.to_owned();
    let hash = move || {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(read)?)?;
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    };
    match blocking(hash).await {
        Ok(digest) => Ok(Some(digest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_before_is_not_asked_for_again_and_nothing_damaged_gets_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open("memory:///").unwrap();
        let bytes = vec![7; 100_000];
        let digest = crate::digest(&bytes);
        store.put("weights", bytes.clone()).await.unwrap();
        let (path, part) = (directory.path().join("w"), directory.path().join("w.part"));
        for (left, came) in [
            (&bytes[..60_000], 40_000),
            (&bytes[..], 0),
            (&[8; 70_000][..], 130_000),
            (&[7; 100_001][..], 100_000),
        ] {
            std::fs::write(&part, left).unwrap();
            assert_eq!(store.fetch("weights", &digest, &path).await.unwrap(), came);
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            assert!(!part.exists());
            assert_eq!(store.fetch("weights", &digest, &path).await.unwrap(), 0);
            std::fs::remove_file(&path).unwrap();
        }
        store.put("weights", &b"forgery"[..]).await.unwrap();
        let refusal = store.fetch("weights", &digest, &path).await.unwrap_err();
        assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal:?}");
        assert!(!path.exists());
        let missing = store.fetch("nothing", &digest, &path).await.unwrap_err();
        assert!(matches!(missing, StoreError::NotFound { .. }), "{missing:?}");
    }
}

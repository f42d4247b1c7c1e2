//! Content-addressed bytes: the key is the digest. They are synced to the disk before anybody hears of the digest: what names it,
//! such as a record of a ledger, may be durable at once.

use crate::{Store, StoreError, aside, digest};
use bytes::Bytes;
use common::Digest;

impl Store {
    /// Stores bytes under their digest in `kind` (such as `products`), durably, and returns the digest. Storing the same bytes
    /// again does nothing; a file that a power cut has left empty or cut short is replaced.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn put_content(&self, kind: &str, bytes: impl Into<Bytes>) -> Result<Digest, StoreError> {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        let (key, store) = (content_key(kind, &digest), self.synced());
        // A bucket may deny to tell of a key that is not there: then the attempt to create it tells.
        let there = store.find(&key).await.ok().flatten();
        if there.is_some_and(|found| found.size == bytes.len() as u64) {
            return Ok(digest);
        }
        match store.create(&key, bytes.clone()).await {
            // What is there are other bytes, whenever they came.
            Err(StoreError::Exists { .. }) => store.put(&key, bytes).await?,
            created => created?,
        }
        Ok(digest)
    }

    /// Stores bytes under their digest in `kind`, durably, also when they are there already: they are as old as they were last
    /// stored.
    ///
    /// # Errors
    /// [`StoreError::Backend`] naming the key.
    pub async fn renew_content(&self, kind: &str, bytes: impl Into<Bytes>) -> Result<Digest, StoreError> {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        self.synced().put(&content_key(kind, &digest), bytes).await?;
        Ok(digest)
    }

    /// The bytes of a digest in `kind`, checked against it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`] or [`StoreError::Backend`], naming the key.
    pub async fn get_content(&self, kind: &str, expected: &Digest) -> Result<Bytes, StoreError> {
        let key = content_key(kind, expected);
        let bytes = self.get(&key).await?;
        let found = digest_aside(bytes.clone()).await;
        if found == *expected {
            return Ok(bytes);
        }
        Err(StoreError::Damaged {
            key,
            url: self.url.to_string(),
            expected: (*expected).into(),
            found: found.into(),
        })
    }
}

/// The digest of bytes of any number, of many computed off the runtime.
pub async fn digest_aside(bytes: Bytes) -> Digest {
    let hashed = aside(bytes.len(), move || digest(&bytes)).await;
    hashed.expect("hashing does not panic")
}

/// The key of a digest in `kind`: `<kind>/<64 hex digits>`.
pub fn content_key(kind: &str, digest: &Digest) -> String {
    format!("{kind}/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every backend keeps the same promises.
    async fn stores(directory: &std::path::Path) -> Vec<Store> {
        let file = Store::open(&format!("file://{}", directory.display())).unwrap();
        vec![Store::open("memory:///").unwrap(), file]
    }

    #[tokio::test]
    async fn content_comes_back_under_its_digest_and_twice_is_once() {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(directory.path()).await {
            let first = store.put_content("images", &b"picture"[..]).await.unwrap();
            let second = store.put_content("images", &b"picture"[..]).await.unwrap();
            assert_eq!(first, second);
            assert_eq!(
                &store.get_content("images", &first).await.unwrap()[..],
                b"picture"
            );
        }
    }

    #[tokio::test]
    async fn content_that_a_power_cut_has_left_empty_is_stored_again() {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(directory.path()).await {
            let key = content_key("products", &digest(b"picture"));
            store.put(&key, Bytes::new()).await.unwrap();
            let stored = store.put_content("products", &b"picture"[..]).await.unwrap();
            assert_eq!(
                &store.get_content("products", &stored).await.unwrap()[..],
                b"picture"
            );
        }
    }

    #[tokio::test]
    async fn damaged_content_is_refused_with_both_digests() {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(directory.path()).await {
            let right = store.put_content("images", &b"picture"[..]).await.unwrap();
            store
                .put(&content_key("images", &right), &b"forgery"[..])
                .await
                .unwrap();
            let refusal = store.get_content("images", &right).await.unwrap_err();
            assert!(matches!(refusal, StoreError::Damaged { expected, .. } if expected == right));
        }
    }

    #[tokio::test]
    async fn a_missing_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(directory.path()).await {
            let refusal = store.get("reports/none.json").await.unwrap_err();
            assert!(matches!(&refusal, StoreError::NotFound { key, .. } if key == "reports/none.json"));
            assert!(!store.exists("reports/none.json").await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_removed_key_is_gone_and_may_be_removed_again() {
        let directory = tempfile::tempdir().unwrap();
        for store in stores(directory.path()).await {
            store.put("reports/a.json", &b"{}"[..]).await.unwrap();
            for _ in 0..2 {
                store.delete("reports/a.json").await.unwrap();
                assert!(!store.exists("reports/a.json").await.unwrap());
            }
        }
    }

    #[test]
    fn a_url_that_names_no_store_says_what_would_be_right() {
        for bad in [
            "",
            "relative/dir",
            "ftp://host/x",
            "s3://",
            "file://host/x",
            "https://host/x",
        ] {
            let message = Store::open(bad).unwrap_err().to_string();
            assert!(
                message.contains("file:///") && message.contains("s3://"),
                "{bad:?}: {message}"
            );
        }
    }
}

//! A directory in a store: its files under their own names, and an inventory with the digest of each, written last and once.
//!
//! What has an inventory is whole. A place takes one directory: who pushes another one there is refused before the first byte.

use crate::cache::{self, Brought, Told};
use crate::inventory::{BEGUN, INVENTORY, Inventory, Listed, is_plain};
use crate::part::fault;
use crate::{Found, Store, StoreError, digest, file_digest};
use common::Digest;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What became of a directory that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Of its inventory: what names this directory.
    pub digest: Digest,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, those that were sent this time.
    pub sent: u64,
}

impl Store {
    /// Writes files of this machine under their names (`a` or `a/b`), and their inventory. A push that broke off goes on at the
    /// file that is missing; one that was finished is not repeated.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the place holds something else already, [`StoreError::Key`] for a name that is none,
    /// [`StoreError::File`], [`StoreError::Backend`]. Without its inventory what was written is no directory yet.
    pub async fn push_directory(&self, files: &BTreeMap<String, PathBuf>) -> Result<Pushed, StoreError> {
        let mut listed = BTreeMap::new();
        for (name, path) in files {
            if !is_plain(name) {
                let reason = "expected the name of a file, or directories and a name with / between them";
                let (key, reason) = (name.clone(), reason.to_owned());
                return Err(StoreError::Key { key, reason });
            }
            listed.insert(name.clone(), look_at(path).await?);
        }
        let inventory = Inventory::new(listed);
        let json = inventory.json();
        let mut pushed = Pushed {
            digest: digest(&json),
            files: files.len(),
            bytes: inventory.bytes(),
            sent: 0,
        };
        if self.holds(INVENTORY, &json).await? {
            return Ok(pushed);
        }
        self.claim(&json).await?;
        for (name, path) in files {
            pushed.sent += self.push_file(name, path, &inventory.files[name]).await?;
        }
        self.create(INVENTORY, json).await?;
        Ok(pushed)
    }

    /// Brings the directory of this store into `cache`, unless it is there. Every file is checked against its digest, also
    /// those that were there; what broke off goes on where it was. Waits while another process brings the same one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no inventory, [`StoreError::Inventory`] when it is none, [`StoreError::Damaged`],
    /// [`StoreError::File`], [`StoreError::Backend`].
    pub async fn pull_directory(&self, cache: &Path, told: &Told<'_>) -> Result<Brought, StoreError> {
        let (inventory, json) = self.inventory().await?;
        cache::bring(self, &inventory.wanted(), digest(&json), cache, told).await
    }

    /// What was pushed here, as its inventory says; no other byte is read.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no inventory, [`StoreError::Inventory`] when it is none, [`StoreError::Backend`].
    pub async fn pushed(&self) -> Result<Pushed, StoreError> {
        let (inventory, json) = self.inventory().await?;
        Ok(Pushed {
            digest: digest(&json),
            files: inventory.files.len(),
            bytes: inventory.bytes(),
            sent: 0,
        })
    }

    /// Makes the place that of one inventory.
    async fn claim(&self, json: &[u8]) -> Result<(), StoreError> {
        if self.holds(BEGUN, json).await? {
            return Ok(());
        }
        if let Some(Found { key, .. }) = self.listing("")?.next().await? {
            let url = self.url.to_string();
            return Err(StoreError::Exists { key, url });
        }
        self.create(BEGUN, json.to_vec()).await
    }

    /// Whether a key holds exactly these bytes; `false` when it holds none.
    async fn holds(&self, key: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        match self.get(key).await {
            Ok(found) if found == bytes => Ok(true),
            Ok(_) => Err(StoreError::Exists {
                key: key.to_owned(),
                url: self.url.to_string(),
            }),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes one file, unless a push of the same directory has, and returns the bytes that were sent.
    async fn push_file(&self, name: &str, path: &Path, listed: &Listed) -> Result<u64, StoreError> {
        if self
            .find(name)
            .await?
            .is_some_and(|found| found.size == listed.bytes)
        {
            return Ok(0);
        }
        if self.put_file(name, path).await? != listed.digest {
            self.delete(name).await?;
            let changed = io::Error::other("it was changed while it was pushed");
            return Err(fault("push", path)(changed));
        }
        Ok(listed.bytes)
    }
}

async fn look_at(path: &Path) -> Result<Listed, StoreError> {
    let missing = || fault("read", path)(io::ErrorKind::NotFound.into());
    let digest = file_digest(path).await?.ok_or_else(missing)?;
    let metadata = tokio::fs::metadata(path).await;
    let bytes = metadata.map_err(fault("read", path))?.len();
    Ok(Listed { bytes, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(directory: &Path) -> BTreeMap<String, PathBuf> {
        let files = [("config.json", &b"{}"[..]), ("tower/weights", &[7; 50_000])];
        let named = files.map(|(name, content)| {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            (name.to_owned(), path)
        });
        named.into()
    }

    async fn pull(store: &Store, cache: &Path) -> Result<Brought, StoreError> {
        store
            .pull_directory(cache, &|done, all| assert!(done <= all))
            .await
    }

    #[tokio::test]
    async fn a_directory_comes_back_whole_and_only_what_is_missing_or_damaged_comes_again() {
        let (here, cache, there) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        for url in [
            "memory:///".to_owned(),
            format!("file://{}", there.path().display()),
        ] {
            let cache = cache.path().join(url.split(':').next().unwrap());
            let store = Store::open(&url).unwrap();
            let files = model(here.path());
            let none = pull(&store, &cache).await.unwrap_err();
            assert!(matches!(none, StoreError::NotFound { .. }), "{none:?}");
            let pushed = store.push_directory(&files).await.unwrap();
            assert_eq!((pushed.files, pushed.bytes, pushed.sent), (2, 50_002, 50_002));
            assert_eq!(store.push_directory(&files).await.unwrap().sent, 0);
            // A pull that broke off.
            let partial = cache.join(format!("{}.partial", pushed.digest.hex()));
            std::fs::create_dir_all(partial.join("tower")).unwrap();
            std::fs::write(partial.join("tower/weights.part"), [7; 30_000]).unwrap();
            let pulled = pull(&store, &cache).await.unwrap();
            assert_eq!((pulled.digest, pulled.came), (pushed.digest, 20_002));
            assert!(!partial.exists());
            let place = pulled.directory;
            for (name, path) in &files {
                assert_eq!(
                    std::fs::read(place.join(name)).unwrap(),
                    std::fs::read(path).unwrap()
                );
            }
            // Each kind of damage to an entry is noticed, and costs the bytes of one file.
            std::fs::write(place.join("config.json"), "[]").unwrap();
            assert_eq!(pull(&store, &cache).await.unwrap().came, 2);
            std::fs::remove_file(place.join("tower/weights")).unwrap();
            assert_eq!(pull(&store, &cache).await.unwrap().came, 50_000);
            assert_eq!(pull(&store, &cache).await.unwrap().came, 0);
            assert_eq!(std::fs::read(place.join("config.json")).unwrap(), b"{}");
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_is_refused_with_the_file_and_both_digests() {
        let (here, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open("memory:///").unwrap();
        let pushed = store.push_directory(&model(here.path())).await.unwrap();
        let mut flipped = vec![7; 50_000];
        flipped[40_000] ^= 1;
        let (expected, found) = (digest(&[7; 50_000]), digest(&flipped));
        store.put("tower/weights", flipped).await.unwrap();
        for _ in 0..2 {
            let refusal = pull(&store, cache.path()).await.unwrap_err().to_string();
            for named in ["tower/weights", &expected.to_string(), &found.to_string()] {
                assert!(refusal.contains(named), "{refusal}");
            }
        }
        assert!(!cache.path().join(pushed.digest.hex()).exists());
        // Put right, it is taken.
        store.put("tower/weights", vec![7; 50_000]).await.unwrap();
        assert_eq!(pull(&store, cache.path()).await.unwrap().files, 2);
    }

    #[tokio::test]
    async fn a_place_takes_one_directory_and_a_push_goes_on_where_it_broke_off() {
        let here = tempfile::tempdir().unwrap();
        let store = Store::open("memory:///").unwrap();
        let files = model(here.path());
        let pushed = store.push_directory(&files).await.unwrap();
        store.delete(INVENTORY).await.unwrap();
        store.delete("config.json").await.unwrap();
        assert_eq!(store.push_directory(&files).await.unwrap().sent, 2);
        assert_eq!(
            pull(&store, &here.path().join("cache")).await.unwrap().digest,
            pushed.digest
        );
        // Neither a finished nor a begun one is overwritten, nor what somebody else has put there.
        std::fs::write(&files["config.json"], "[1]").unwrap();
        for left in [Some(INVENTORY), Some(BEGUN), None] {
            let refusal = store.push_directory(&files).await.unwrap_err();
            assert!(matches!(refusal, StoreError::Exists { .. }), "{refusal:?}");
            assert_eq!(store.get("config.json").await.unwrap(), b"{}"[..]);
            if let Some(key) = left {
                store.delete(key).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_inventory_names_nothing_outside_its_directory() {
        let cache = tempfile::tempdir().unwrap();
        let digest = crate::digest(b"x");
        let long = "x".repeat(513);
        let odd = [
            "../x",
            "/x",
            "a/../../x",
            "",
            "a//x",
            "./x",
            "a\\x",
            "c:x",
            "x.part",
            INVENTORY,
            &long,
        ];
        let entry = |name: &str, bytes: u64| {
            format!(
                r#"{}:{{"bytes":{bytes},"digest":"{digest}"}}"#,
                serde_json::to_string(name).unwrap()
            )
        };
        let odd = odd
            .iter()
            .map(|name| entry(name, 1))
            .chain([entry("x", u64::MAX)]);
        for entry in odd {
            let store = Store::open("memory:///").unwrap();
            let inventory = format!(r#"{{"format":1,"files":{{{entry}}}}}"#);
            store.put(INVENTORY, inventory).await.unwrap();
            let refusal = pull(&store, cache.path()).await.unwrap_err();
            assert!(
                matches!(refusal, StoreError::Inventory { .. }),
                "{entry}: {refusal:?}"
            );
        }
    }

    #[tokio::test]
    async fn processes_that_want_the_same_directory_bring_it_once() {
        let (here, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open("memory:///").unwrap();
        store.push_directory(&model(here.path())).await.unwrap();
        let pull = || pull(&store, cache.path());
        let (a, b, c) = tokio::join!(pull(), pull(), pull());
        let came: u64 = [a, b, c].map(|pulled| pulled.unwrap().came).iter().sum();
        assert_eq!(came, 50_002);
    }
}

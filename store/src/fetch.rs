//! Bytes of a store brought into a file: resumed where they broke off, checked, and under their name only when they are whole.

use crate::{Store, StoreError};
use common::Digest;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;

/// What has come of a file so far.
struct Part {
    path: PathBuf,
    file: tokio::fs::File,
    hasher: blake3::Hasher,
    bytes: u64,
}

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
        let mut part = Part::open(path).await?;
        let size = self.find(key).await?.map(|found| found.size);
        if size.is_some_and(|size| part.bytes > size) {
            part.start_over().await?;
        }
        let had = part.bytes;
        let mut came = self.append(key, &mut part).await?;
        if had > 0 && part.digest() != *expected {
            // What was left is of something else.
            part.start_over().await?;
            came += self.append(key, &mut part).await?;
        }
        let found = part.digest();
        if found != *expected {
            part.start_over().await?;
            return Err(StoreError::Damaged {
                key: key.to_owned(),
                url: self.url.to_string(),
                expected: *expected,
                found,
            });
        }
        part.finish(path).await?;
        Ok(came)
    }

    async fn append(&self, key: &str, part: &mut Part) -> Result<u64, StoreError> {
        let begun = part.bytes;
        // A range that begins at the end is no range.
        if begun > 0 && self.find(key).await?.is_some_and(|found| found.size == begun) {
            return Ok(0);
        }
        let mut bytes = self.download(key, begun).await?;
        loop {
            match bytes.next().await {
                Ok(Some(chunk)) => part.write(&chunk).await?,
                Ok(None) => break,
                Err(error) => {
                    // What came stays for the next try.
                    part.flush().await?;
                    return Err(error);
                }
            }
        }
        part.flush().await?;
        Ok(part.bytes - begun)
    }
}

impl Part {
    async fn open(whole: &Path) -> Result<Self, StoreError> {
        let mut name = whole.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let opened = path.clone();
        let open = move || {
            let file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(&opened)?;
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&file)?;
            Ok((file, hasher))
        };
        let (file, hasher) = blocking(open).await.map_err(fault("open", &path))?;
        Ok(Self {
            bytes: hasher.count(),
            file: tokio::fs::File::from_std(file),
            hasher,
            path,
        })
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(bytes).await;
        written.map_err(fault("write", &self.path))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.file.flush().await.map_err(fault("write", &self.path))
    }

    async fn start_over(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).await.map_err(fault("empty", &self.path))?;
        self.hasher.reset();
        self.bytes = 0;
        Ok(())
    }

    async fn finish(mut self, whole: &Path) -> Result<(), StoreError> {
        self.flush().await?;
        self.file.sync_all().await.map_err(fault("write", &self.path))?;
        let renamed = tokio::fs::rename(&self.path, whole).await;
        renamed.map_err(fault("make", whole))
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File { action, path, source }
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

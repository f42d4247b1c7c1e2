//! A file that comes over the network: what an earlier try has left is gone on with, and it gets its name when it is whole.

use crate::StoreError;
use crate::checksum::{Checksum, Hasher};
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;

/// A file to bring, and what it must be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its key where it comes from.
    pub(crate) name: String,
    /// Its length. No byte more is taken.
    pub(crate) bytes: u64,
    /// Of exactly these bytes.
    pub(crate) checksum: Checksum,
}

/// Bytes as they come.
pub(crate) type Stream = BoxStream<'static, Result<Bytes, StoreError>>;

/// Where files come from.
pub(crate) trait Source {
    /// What errors call it.
    fn url(&self) -> String;

    /// The bytes of a file from `offset` on, which lies before its end.
    async fn open(&self, wanted: &Wanted, offset: u64) -> Result<Stream, StoreError>;
}

impl Wanted {
    /// Whether the file `path` is this one.
    ///
    /// # Errors
    /// [`StoreError::File`] when it is there and cannot be read.
    pub(crate) async fn is_at(&self, path: &Path) -> Result<bool, StoreError> {
        let (read, bytes) = (path.to_owned(), self.bytes);
        let mut hasher = Hasher::new(&self.checksum, bytes);
        let hash = move || {
            let file = File::open(read)?;
            if file.metadata()?.len() != bytes {
                return Ok(None);
            }
            hasher.update_reader(file)?;
            Ok(Some(hasher.checksum()))
        };
        match blocking(hash).await {
            Ok(found) => Ok(found == Some(self.checksum)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault("read", path)(error)),
        }
    }

    /// Brings it into the file `path`, whose directory exists, and returns how many bytes came over the network. What an
    /// earlier try has left in `<path>.part` is not asked for again.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the bytes are others, [`StoreError::File`], and what the source fails with.
    pub(crate) async fn bring(
        &self,
        source: &impl Source,
        path: &Path,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<u64, StoreError> {
        let mut part = Part::open(path, self).await?;
        if part.bytes > self.bytes {
            part.start_over().await?;
        }
        let had = part.bytes;
        told(had);
        let mut came = self.append(source, &mut part, told).await?;
        if had > 0 && part.hasher.checksum() != self.checksum {
            // What was left is of something else.
            part.start_over().await?;
            came += self.append(source, &mut part, told).await?;
        }
        let found = part.hasher.checksum();
        if found != self.checksum {
            part.start_over().await?;
            return Err(StoreError::Damaged {
                key: self.name.clone(),
                url: source.url(),
                expected: self.checksum,
                found,
            });
        }
        part.finish(path).await?;
        Ok(came)
    }

    async fn append(
        &self,
        source: &impl Source,
        part: &mut Part,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<u64, StoreError> {
        let begun = part.bytes;
        // A range that begins at the end is no range.
        if begun == self.bytes {
            return Ok(0);
        }
        let mut bytes = source.open(self, begun).await?;
        while part.bytes < self.bytes {
            match bytes.try_next().await {
                Ok(Some(chunk)) => {
                    let room = usize::try_from(self.bytes - part.bytes).unwrap_or(usize::MAX);
                    let taken = &chunk[..chunk.len().min(room)];
                    part.write(taken).await?;
                    told(taken.len() as u64);
                }
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

/// What has come of a file so far.
struct Part {
    path: PathBuf,
    file: tokio::fs::File,
    fresh: Hasher,
    hasher: Hasher,
    bytes: u64,
}

impl Part {
    async fn open(whole: &Path, wanted: &Wanted) -> Result<Self, StoreError> {
        let mut name = whole.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let opened = path.clone();
        let fresh = Hasher::new(&wanted.checksum, wanted.bytes);
        let mut hasher = fresh.clone();
        let open = move || {
            let file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(&opened)?;
            let bytes = hasher.update_reader(&file)?;
            Ok((file, hasher, bytes))
        };
        let (file, hasher, bytes) = blocking(open).await.map_err(fault("open", &path))?;
        Ok(Self {
            file: tokio::fs::File::from_std(file),
            path,
            fresh,
            hasher,
            bytes,
        })
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
        self.hasher = self.fresh.clone();
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

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

pub(crate) fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File { action, path, source }
}

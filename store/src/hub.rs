//! Models of a model hub: `hf:org/name@revision`, brought to this machine by the files of one commit.
//!
//! A branch or a tag is looked up first: what is brought is always a commit, whose files never change.

mod asking;
mod download;
mod name;
mod tree;

#[cfg(test)]
mod tests;

pub use name::HubModel;

use crate::cache::{self, Brought, Told, lock, make};
use crate::part::{Source, Stream, Wanted, fault};
use crate::{StoreError, StoreSettings, credentials, digest};
use asking::Client;
use common::Digest;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The hub that is asked when `HF_ENDPOINT` names no other.
const ENDPOINT: &str = "https://huggingface.co";

/// A hub of models. Cloning shares its connections.
#[derive(Clone)]
pub struct Hub {
    client: Arc<Client>,
}

impl Hub {
    /// The hub that the environment names (`HF_ENDPOINT`, by default huggingface.co), asked with the token of `HF_TOKEN`, if
    /// there is one. Nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::Url`] when `HF_ENDPOINT` is no URL, or has no TLS and `HF_ALLOW_HTTP` is not `true`; when `HF_TOKEN` is
    /// none.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let endpoint = credentials::variable("HF_ENDPOINT");
        let token = credentials::variable("HF_TOKEN");
        let allowed = credentials::variable("HF_ALLOW_HTTP");
        let endpoint = endpoint.as_deref().unwrap_or(ENDPOINT);
        Self::at(endpoint, token.as_deref(), allowed.as_deref(), settings)
    }

    fn at(
        endpoint: &str,
        token: Option<&str>,
        allowed: Option<&str>,
        settings: &StoreSettings,
    ) -> Result<Self, StoreError> {
        let client = Arc::new(Client::new(endpoint, token, allowed, settings)?);
        Ok(Self { client })
    }

    /// The same model with the commit that its revision stands for now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the hub has no such model or revision, [`StoreError::Denied`] when it does not show it,
    /// [`StoreError::Inventory`] when what it says cannot be read, [`StoreError::Backend`].
    pub async fn resolve(&self, model: &HubModel) -> Result<HubModel, StoreError> {
        if model.is_commit() {
            return Ok(model.clone());
        }
        let commit = tree::commit(&self.client, model).await?;
        Ok(model.at_commit(commit))
    }

    /// Brings the files of a model at the commit of its revision into `cache`, those of its names that `select` keeps, unless they are there.
    /// Every file is checked against what the hub says of it (SHA-256, or git's own), also those that were there; what broke
    /// off goes on where it was. A commit that was brought once is found in the cache without asking the hub.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); [`StoreError::Damaged`] naming file and digests, [`StoreError::File`].
    pub async fn pull(
        &self,
        model: &HubModel,
        cache: &Path,
        select: impl Fn(&[&str]) -> Vec<bool>,
        told: &Told<'_>,
    ) -> Result<Brought, StoreError> {
        let model = &self.resolve(model).await?;
        make(cache).await?;
        let known = cache.join(self.inventory_name(model));
        let files = {
            // Whoever waited for another process finds what that one recorded.
            let _alone = lock(known.with_extension("lock")).await?;
            match recorded(&known).await? {
                Some(files) => files,
                None => {
                    let files = tree::files(&self.client, model, select).await?;
                    record(&known, &files).await?;
                    files
                }
            }
        };
        let digest = digest(&tree::to_json(&files));
        let source = FromHub { hub: self, model };
        cache::bring(&source, &files, digest, cache, told).await
    }

    /// What the cache calls the inventory of a model at a commit.
    fn inventory_name(&self, model: &HubModel) -> String {
        // Another version of this program may select other files.
        let which = format!("{} {} {model}", env!("CARGO_PKG_VERSION"), self.client.endpoint());
        format!("hub-{}.json", digest(which.as_bytes()).hex())
    }
}

impl fmt::Debug for Hub {
    /// Where it is. The client below knows its token, and is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.client.endpoint())
            .finish_non_exhaustive()
    }
}

/// One model, as what its files come from.
struct FromHub<'a> {
    hub: &'a Hub,
    model: &'a HubModel,
}

impl Source for FromHub<'_> {
    fn url(&self) -> String {
        self.model.to_string()
    }

    async fn open(&self, wanted: &Wanted, offset: u64) -> Result<Stream, StoreError> {
        Ok(download::stream(&self.hub.client, self.model, wanted, offset))
    }
}

/// The files of an inventory that was recorded; `None` when there is none, or what is there is damaged.
async fn recorded(path: &Path) -> Result<Option<Vec<Wanted>>, StoreError> {
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault("read", path)(error)),
    };
    // The digest of the rest stands in the first line.
    let parts = bytes.iter().position(|&byte| byte == b'\n');
    let checked = parts.and_then(|end| {
        let stated: Digest = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
        let json = &bytes[end + 1..];
        (digest(json) == stated).then(|| tree::from_json(json)).flatten()
    });
    if checked.is_none() {
        tracing::warn!(file = %path.display(), "damaged in the cache; the hub is asked again");
    }
    Ok(checked)
}

async fn record(path: &Path, files: &[Wanted]) -> Result<(), StoreError> {
    let json = tree::to_json(files);
    let mut bytes = format!("{}\n", digest(&json)).into_bytes();
    bytes.extend(json);
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let partial = PathBuf::from(name);
    let written = tokio::fs::write(&partial, bytes).await;
    written.map_err(fault("write", &partial))?;
    let renamed = tokio::fs::rename(&partial, path).await;
    renamed.map_err(fault("make", path))
}

//! A pin: whoever reads a checkpoint says so in the store, and retention leaves it alone meanwhile.
//!
//! A pin holds for an hour after it was last renewed, by the store's own clock, which is read off the newest manifest: a reader
//! that dies holds nothing for ever, and no two clocks are compared. A reader first reads the manifest, then writes its pin, then
//! looks whether the manifest is still there; retention removes manifests before it looks for pins the last time. So one of
//! the two sees the other.

use super::{Checkpoints, Manifest};
use crate::error::LearnerError;
use common::{Digest, PolicyVersion};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use store::{Found, Store, StoreError};
use tokio::task::JoinHandle;

/// How long a pin holds after it was written.
pub(super) const LIFE: Duration = Duration::from_secs(3600);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(600);

/// What a pin holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pinned {
    pub(super) version: PolicyVersion,
    pub(super) parts: [Digest; 2],
}

/// A checkpoint that is being read.
pub(super) struct Pin {
    store: Store,
    key: String,
    renewal: JoinHandle<()>,
}

impl Checkpoints {
    /// What the manifest of a version says, held until the pin is released or dropped.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub(super) async fn pin(&self, version: PolicyVersion) -> Result<(Manifest, Pin), LearnerError> {
        let manifest = self.manifest(version).await?;
        let pinned = Pinned {
            version,
            parts: [manifest.adapter, manifest.optimizer],
        };
        let json = serde_json::to_vec(&pinned).expect("plain values have a JSON form");
        // Two readers of one version have a pin each. The hasher's keys come from the system's random numbers.
        let unique = RandomState::new().hash_one(std::process::id());
        let key = format!("{}/{}-{unique:016x}.json", self.pins(), version);
        self.store.put(&key, json.clone()).await?;
        let (store, renewed) = (self.store.clone(), key.clone());
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                if let Err(error) = store.put(&renewed, json.clone()).await {
                    tracing::warn!(%error, "a pin could not be renewed");
                }
            }
        });
        let pin = Pin {
            store: self.store.clone(),
            key,
            renewal,
        };
        if self.has(version).await? {
            return Ok((manifest, pin));
        }
        pin.release().await;
        let key = self.key(version);
        let url = self.store.url().to_string();
        Err(StoreError::NotFound { key, url }.into())
    }

    /// The pins among what was found that hold at the time `now` of the store.
    ///
    /// # Errors
    /// [`LearnerError::Store`].
    pub(super) async fn pinned(&self, found: &[Found], now: Duration) -> Result<Vec<Pinned>, LearnerError> {
        let pins = format!("{}/", self.pins());
        let mut pinned = vec![];
        for pin in found.iter().filter(|found| found.key.starts_with(&pins)) {
            if pin.written + LIFE < now {
                self.store.delete(&pin.key).await?;
                continue;
            }
            match self.store.get(&pin.key).await {
                Ok(json) => pinned.extend(serde_json::from_slice::<Pinned>(&json).ok()),
                // Released meanwhile.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(pinned)
    }

    pub(super) fn pins(&self) -> String {
        format!("{}/pins", self.place)
    }
}

impl Pin {
    /// The checkpoint is read. A pin that cannot be removed runs out by itself.
    pub(super) async fn release(self) {
        if let Err(error) = self.store.delete(&self.key).await {
            tracing::warn!(%error, "a pin could not be removed; it runs out in an hour");
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

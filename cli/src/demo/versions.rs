//! Every version of the demo's run, from the first to the last: none is passed over. What has not been measured yet waits in files.

use crate::observer::Observer;
use anyhow::{Context as _, anyhow, bail};
use common::PolicyVersion;
use proto::{Manifest, pb};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tonic::Streaming;

/// A published version.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// Which.
    pub(super) version: PolicyVersion,
    /// The file of its adapter, safetensors in PEFT's layout, checked against the announced digest.
    pub(super) adapter: PathBuf,
    /// Means over the training steps that led to it, by name; empty for the initial version.
    pub(super) metrics: BTreeMap<String, f64>,
    /// Whether no version follows.
    pub(super) last: bool,
}

/// The announcements of one learner, from its initial version on.
#[derive(Debug)]
pub(super) struct Watch {
    observer: Observer,
    manifests: Streaming<pb::PolicyManifest>,
    directory: PathBuf,
    next: u64,
}

/// Announcements that ended before the last version.
#[derive(Debug)]
pub(super) struct BrokenOff {
    /// The number of the version that was still to come.
    pub(super) next: u64,
    /// What happened.
    pub(super) error: anyhow::Error,
}

impl Watch {
    /// Opens the announcements; adapters will be put into `directory`. Call it before the first actor is at work: what is
    /// published before is not announced.
    ///
    /// # Errors
    /// When the directory cannot be made or the learner does not answer.
    pub(super) async fn open(observer: &Observer, directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            observer: observer.clone(),
            manifests: observer.announcements().await?,
            directory: directory.to_owned(),
            next: 0,
        })
    }

    /// Sends every version as it is published until the last, and stays until nobody takes any more: then all are measured, and the
    /// learner knows that this observer is done.
    ///
    /// # Errors
    /// When the learner breaks off before, sends other bytes than it announced, or has replaced a version before it was
    /// heard of.
    pub(super) async fn follow(mut self, published: &mpsc::Sender<Published>) -> Result<(), BrokenOff> {
        let followed = self.until_last(published).await;
        followed.map_err(|error| BrokenOff {
            next: self.next,
            error,
        })
    }

    async fn until_last(&mut self, published: &mpsc::Sender<Published>) -> anyhow::Result<()> {
        let observer = self.observer.clone();
        while let Some(manifest) = self.manifests.message().await.with_context(|| observer.lost())? {
            let manifest =
                Manifest::try_from(manifest).context("the learner announced something malformed")?;
            let last = manifest.last;
            let version = self.fetch(manifest).await?;
            let sent = published.send(version).await;
            sent.map_err(|_| anyhow!("the evaluation has ended"))?;
            self.next += 1;
            if last {
                published.closed().await;
                return Ok(());
            }
        }
        bail!(
            "{}: its announcements ended before the last version",
            observer.lost()
        )
    }

    async fn fetch(&self, manifest: Manifest) -> anyhow::Result<Published> {
        let (version, last) = (manifest.version, manifest.last);
        if version.number != self.next {
            bail!(
                "{version} was published before version {} was heard of",
                self.next
            );
        }
        let bytes = self.observer.adapter(&manifest).await;
        let bytes = bytes.with_context(|| format!("adapter of {version}"))?;
        let adapter = self.directory.join(format!("{}.safetensors", version.number));
        let written = tokio::fs::write(&adapter, bytes).await;
        written.with_context(|| format!("cannot write {}", adapter.display()))?;
        Ok(Published {
            version,
            adapter,
            metrics: self.observer.metrics(version).await?,
            last,
        })
    }
}

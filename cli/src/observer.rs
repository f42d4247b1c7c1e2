//! The demo as an observer of its own learner: it hears of each version, fetches its adapter over gRPC like an actor
//! does, and asks how the run is going. It takes no lease and counts as no actor.
//!
//! Every version is measured, none is passed over: what has not been measured yet waits in files.

use anyhow::{Context as _, anyhow, bail};
use common::{Digest, LearnerEpoch, PolicyVersion, RunId};
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::{MAX_MESSAGE_BYTES, pb};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// The caller's name in requests.
const NAME: &str = "demo";

/// How long the learner may take to begin an answer, and to notice that a connection is dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a connection that says nothing is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A published version.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// Which.
    pub(super) version: PolicyVersion,
    /// The file of its adapter, safetensors in PEFT's layout, checked against the announced digest.
    pub(super) adapter: PathBuf,
    /// Means over the training steps that led to it, by name; empty for the initial version.
    pub(super) metrics: BTreeMap<String, f64>,
}

/// A connection to one learner.
#[derive(Debug, Clone)]
pub(super) struct Observer {
    client: LearnerServiceClient<Channel>,
    endpoint: String,
    run: RunId,
    epoch: LearnerEpoch,
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

impl Observer {
    /// Connects to the learner at `endpoint` and asks which run it serves.
    ///
    /// # Errors
    /// When it cannot be reached; the message names the address.
    pub(super) async fn connect(endpoint: &str) -> anyhow::Result<Self> {
        let unreachable = || format!("cannot reach the learner at {endpoint}");
        let channel = Endpoint::from_shared(endpoint.to_owned())?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(PATIENCE)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .with_context(unreachable)?;
        let mut client = LearnerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let first = pb::GetRunStatusRequest {
            header: Some(proto::header(None, None, NAME)),
            metrics_from: u64::MAX,
        };
        let status = client
            .get_run_status(first)
            .await
            .with_context(unreachable)?
            .into_inner();
        let version: PolicyVersion = status
            .version
            .context("the run's status names no version")?
            .try_into()?;
        let run = RunId::new(status.run_id)?;
        Ok(Self {
            client,
            endpoint: endpoint.to_owned(),
            run,
            epoch: version.epoch,
        })
    }

    /// How the run is going, without metrics.
    ///
    /// # Errors
    /// When the learner does not answer.
    pub(super) async fn status(&self) -> anyhow::Result<pb::RunStatus> {
        self.status_from(u64::MAX).await
    }

    /// Opens the announcements; adapters will be put into `directory`. Call it before the first actor is at work: what is
    /// published before is not announced.
    ///
    /// # Errors
    /// When the directory cannot be made or the learner does not answer.
    pub(super) async fn watch(&self, directory: &Path) -> anyhow::Result<Watch> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let request = pb::WatchPolicyRequest {
            header: Some(self.header()),
            after: None,
            // It passes nothing on.
            relay_port: 0,
        };
        let watch = self
            .client
            .clone()
            .watch_policy(request)
            .await
            .with_context(|| self.lost())?;
        Ok(Watch {
            observer: self.clone(),
            manifests: watch.into_inner(),
            directory: directory.to_owned(),
            next: 0,
        })
    }

    async fn status_from(&self, metrics_from: u64) -> anyhow::Result<pb::RunStatus> {
        let request = pb::GetRunStatusRequest {
            header: Some(self.header()),
            metrics_from,
        };
        let status = self
            .client
            .clone()
            .get_run_status(request)
            .await
            .with_context(|| self.lost())?;
        Ok(status.into_inner())
    }

    async fn bytes(&self, digest: pb::Digest, size: u64) -> anyhow::Result<Vec<u8>> {
        let expected: Digest = digest.clone().try_into()?;
        let request = pb::FetchArtifactRequest {
            header: Some(self.header()),
            digest: Some(digest),
            offset: 0,
        };
        let answer = self
            .client
            .clone()
            .fetch_artifact(request)
            .await
            .with_context(|| self.lost())?;
        let mut chunks = answer.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await.with_context(|| self.lost())? {
            if chunk.offset != bytes.len() as u64 || bytes.len() + chunk.data.len() > size as usize {
                bail!(
                    "a chunk at byte {} does not continue the {} received of {size}",
                    chunk.offset,
                    bytes.len()
                );
            }
            bytes.extend_from_slice(&chunk.data);
        }
        let found = store::digest(&bytes);
        if found != expected {
            bail!("received bytes have digest {found}, announced was {expected}");
        }
        Ok(bytes)
    }

    /// Metrics are listed from version 1 on.
    async fn metrics(&self, version: PolicyVersion) -> anyhow::Result<BTreeMap<String, f64>> {
        let Some(position) = version.number.checked_sub(1) else {
            return Ok(BTreeMap::new());
        };
        let wanted = pb::PolicyVersion::from(version);
        let mut found = self.status_from(position).await?.metrics.into_iter();
        let found = found.find(|metrics| metrics.version.as_ref() == Some(&wanted));
        let found = found
            .with_context(|| format!("the learner at {} gives no metrics of {version}", self.endpoint))?;
        Ok(found.values)
    }

    fn header(&self) -> pb::RequestHeader {
        proto::header(Some(&self.run), Some(self.epoch), NAME)
    }

    fn lost(&self) -> String {
        format!("the learner at {} does not answer", self.endpoint)
    }
}

impl Watch {
    /// Sends every version as it is published until the last; then the learner knows that this observer is done.
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
            let last = manifest.last;
            let version = self.fetch(manifest).await?;
            let sent = published.send(version).await;
            sent.map_err(|_| anyhow!("the evaluation has ended"))?;
            self.next += 1;
            if last {
                return Ok(());
            }
        }
        bail!(
            "the learner at {} ended its announcements before the last version",
            observer.endpoint
        )
    }

    async fn fetch(&self, manifest: pb::PolicyManifest) -> anyhow::Result<Published> {
        let version: PolicyVersion = manifest
            .version
            .context("a manifest names no version")?
            .try_into()?;
        if version.number != self.next {
            bail!(
                "{version} was published before version {} was heard of",
                self.next
            );
        }
        let artifact = manifest.adapter.context("a manifest names no adapter")?;
        let digest = artifact.digest.context("an artifact has no digest")?;
        let bytes = self
            .observer
            .bytes(digest, artifact.bytes)
            .await
            .with_context(|| format!("adapter of {version}"))?;
        let adapter = self.directory.join(format!("{}.safetensors", version.number));
        let written = tokio::fs::write(&adapter, bytes).await;
        written.with_context(|| format!("cannot write {}", adapter.display()))?;
        Ok(Published {
            version,
            adapter,
            metrics: self.observer.metrics(version).await?,
        })
    }
}

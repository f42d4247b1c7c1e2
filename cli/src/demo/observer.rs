//! The demo as an observer of its own learner: it hears of each version, fetches its adapter over gRPC like an actor
//! does, and asks how the run is going. It takes no lease and counts as no actor.

use anyhow::{Context as _, anyhow, bail};
use common::{Digest, LearnerEpoch, PolicyVersion, RunId};
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::{MAX_MESSAGE_BYTES, pb};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

/// The caller's name in requests.
const NAME: &str = "demo";

/// A published version.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// Which.
    pub(super) version: PolicyVersion,
    /// Its adapter, safetensors in PEFT's layout, checked against the announced digest.
    pub(super) adapter: Vec<u8>,
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

impl Observer {
    /// Connects to the learner at `endpoint` and asks which run it serves.
    ///
    /// # Errors
    /// When it cannot be reached; the message names the address.
    pub(super) async fn connect(endpoint: &str) -> anyhow::Result<Self> {
        let unreachable = || format!("cannot reach the learner at {endpoint}");
        let channel = Endpoint::from_shared(endpoint.to_owned())?
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

    /// How the run is going, with the metrics of all versions.
    ///
    /// # Errors
    /// When the learner does not answer.
    pub(super) async fn status(&self) -> anyhow::Result<pb::RunStatus> {
        let request = pb::GetRunStatusRequest {
            header: Some(self.header()),
            metrics_from: 0,
        };
        let status = self
            .client
            .clone()
            .get_run_status(request)
            .await
            .with_context(|| self.lost())?;
        Ok(status.into_inner())
    }

    /// Sends every version as it is published, the newest at once, until the last.
    ///
    /// # Errors
    /// When the learner breaks off before, or sends other bytes than it announced.
    pub(super) async fn follow(&self, published: mpsc::Sender<Published>) -> anyhow::Result<()> {
        let request = pb::WatchPolicyRequest {
            header: Some(self.header()),
            after: None,
        };
        let watch = self
            .client
            .clone()
            .watch_policy(request)
            .await
            .with_context(|| self.lost())?;
        let mut manifests = watch.into_inner();
        while let Some(manifest) = manifests.message().await.with_context(|| self.lost())? {
            let last = manifest.last;
            let version = self.fetch(manifest).await?;
            published
                .send(version)
                .await
                .map_err(|_| anyhow!("the evaluation has ended"))?;
            if last {
                return Ok(());
            }
        }
        bail!(
            "the learner at {} ended its announcements before the last version",
            self.endpoint
        )
    }

    async fn fetch(&self, manifest: pb::PolicyManifest) -> anyhow::Result<Published> {
        let version: PolicyVersion = manifest
            .version
            .context("a manifest names no version")?
            .try_into()?;
        let artifact = manifest.adapter.context("a manifest names no adapter")?;
        let digest = artifact.digest.context("an artifact has no digest")?;
        let adapter = self
            .bytes(digest, artifact.bytes)
            .await
            .with_context(|| format!("adapter of {version}"))?;
        Ok(Published {
            version,
            adapter,
            metrics: self.metrics(version).await?,
        })
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

    async fn metrics(&self, version: PolicyVersion) -> anyhow::Result<BTreeMap<String, f64>> {
        if version.number == 0 {
            return Ok(BTreeMap::new());
        }
        let wanted = pb::PolicyVersion::from(version);
        let mut all = self.status().await?.metrics.into_iter();
        let found = all.find(|metrics| metrics.version.as_ref() == Some(&wanted));
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

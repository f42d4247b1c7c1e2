//! An observer of a run: it hears of versions, fetches their adapters over gRPC like an actor does, asks how the run is going, and
//! tells what versions do on held-out products. It takes no lease and counts as no actor.

use anyhow::{Context as _, bail};
use common::{Digest, LearnerEpoch, PolicyVersion, RunId};
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::tls::Transport;
use proto::{Answering, MAX_MESSAGE_BYTES, PeerRole, pb};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// How long the learner may take to begin an answer, and to notice that a connection is dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a connection that says nothing is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A connection to one learner.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    /// The caller's name in requests.
    name: &'static str,
    client: LearnerServiceClient<Channel>,
    endpoint: String,
    run: RunId,
    epoch: LearnerEpoch,
}

impl Observer {
    /// Connects to the learner at `endpoint`, as `name`, and asks which run it serves.
    ///
    /// # Errors
    /// When it cannot be reached; the message names the address.
    pub(crate) async fn connect(
        name: &'static str,
        transport: &Transport,
        endpoint: &str,
    ) -> anyhow::Result<Self> {
        let unreachable = || format!("cannot reach the learner at {endpoint}");
        let settings = |endpoint: Endpoint| {
            endpoint
                .connect_timeout(PATIENCE)
                .timeout(PATIENCE)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(PATIENCE)
                .keep_alive_while_idle(true)
        };
        let learner = Answering::Role(PeerRole::Learner);
        let channel = proto::channel(&transport.network(), endpoint, learner, settings);
        let channel = channel.with_context(unreachable)?;
        let mut client = LearnerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let first = pb::GetRunStatusRequest {
            header: Some(proto::header(None, None, name)),
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
            name,
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
    pub(crate) async fn status(&self) -> anyhow::Result<pb::RunStatus> {
        self.status_from(u64::MAX).await
    }

    /// Opens the announcements: the newest version, then each as it is published. While they are open, a learner whose run is complete
    /// waits for a report of the last version.
    ///
    /// # Errors
    /// When the learner does not answer.
    pub(crate) async fn announcements(&self) -> anyhow::Result<Streaming<pb::PolicyManifest>> {
        let request = pb::WatchPolicyRequest {
            header: Some(self.header()),
            after: None,
            // It passes nothing on.
            relay_port: 0,
            evaluates: true,
        };
        let announced = self.client.clone().watch_policy(request).await;
        Ok(announced.with_context(|| self.lost())?.into_inner())
    }

    /// The bytes of an announced adapter, checked against its digest.
    ///
    /// # Errors
    /// When the learner does not answer, no longer has it, or sends something else.
    pub(crate) async fn adapter(&self, manifest: &pb::PolicyManifest) -> anyhow::Result<Vec<u8>> {
        let artifact = manifest.adapter.as_ref().context("a manifest names no adapter")?;
        let digest = artifact.digest.clone().context("an artifact has no digest")?;
        self.bytes(digest, artifact.bytes).await
    }

    /// Tells the learner what a version does on held-out products.
    ///
    /// # Errors
    /// When the learner does not take it.
    pub(crate) async fn report(
        &self,
        version: PolicyVersion,
        values: BTreeMap<String, f64>,
    ) -> anyhow::Result<()> {
        let request = pb::ReportEvaluationRequest {
            header: Some(self.header()),
            version: Some(version.into()),
            values,
        };
        let reported = self.client.clone().report_evaluation(request).await;
        reported.map(drop).with_context(|| self.lost())
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

    /// What the training of a version measured; nothing of the first one.
    ///
    /// # Errors
    /// When the learner does not answer, or has none.
    pub(crate) async fn metrics(&self, version: PolicyVersion) -> anyhow::Result<BTreeMap<String, f64>> {
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
        proto::header(Some(&self.run), Some(self.epoch), self.name)
    }

    pub(crate) fn lost(&self) -> String {
        format!("the learner at {} does not answer", self.endpoint)
    }
}

//! An observer of a run: it hears of versions, fetches their adapters over gRPC like an actor does, asks how the run is going, and
//! tells what versions do on held-out products. It takes no lease and counts as no actor.

use crate::failure::{Failure, Outcome};
use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use common::{Artifact, DecidingSettings, LearnerEpoch, PolicyVersion, RunId};
use futures::{Stream, StreamExt as _};
use proto::artifact_stream::continued;
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::tls::Transport;
use proto::{Answering, MAX_MESSAGE_BYTES, Manifest, PeerRole, RunStatus, WireError, pb};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// How long the learner may take to be reached, to begin an answer, to go on with an artifact, and to say that it lives. An observer asks
/// once, so it is as patient as that.
const PATIENCE: Duration = Duration::from_secs(30);

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
                .keep_alive_timeout(PATIENCE)
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
        let status = client.get_run_status(first).await.with_context(unreachable)?;
        let status = RunStatus::try_from(status.into_inner()).with_context(|| malformed(endpoint))?;
        Ok(Self {
            name,
            client,
            endpoint: endpoint.to_owned(),
            run: status.run,
            epoch: status.version.epoch,
        })
    }

    /// How the run is going, without metrics.
    ///
    /// # Errors
    /// When the learner does not answer, or not as one does.
    pub(crate) async fn status(&self) -> anyhow::Result<RunStatus> {
        self.status_from(u64::MAX).await
    }

    /// Opens the announcements: the newest version, then each as it is published. While they are open, a learner whose run is complete
    /// waits for a report of the last version.
    ///
    /// # Errors
    /// When the learner does not answer.
    pub(crate) async fn announcements(&self) -> anyhow::Result<Streaming<pb::PolicyManifest>> {
        let announced = self.announced(DecidingSettings::default()).await;
        announced.with_context(|| self.lost())
    }

    /// The same for one who measures on these [products](learner::measured_products).
    ///
    /// # Errors
    /// Configuration at fault when the run is measured on others; else when the learner does not answer.
    pub(crate) async fn announcements_to(
        &self,
        measured: DecidingSettings,
    ) -> Outcome<Streaming<pb::PolicyManifest>> {
        match self.announced(measured).await {
            Err(refusal) if WireError::is_other_settings(&refusal) => Err(Failure::Configuration(anyhow!(
                "the learner at {} refused: {}; measure on the products of its run and with its instructions: catalogue.source and catalogue.test_share, of the simulated \
                 shop [shopworld] and run.seed",
                self.endpoint,
                proto::one_line(refusal.message())
            ))),
            announced => Ok(announced.with_context(|| self.lost())?),
        }
    }

    async fn announced(&self, measured: DecidingSettings) -> Result<Streaming<pb::PolicyManifest>, Status> {
        let request = pb::WatchPolicyRequest {
            header: Some(self.header()),
            after: None,
            // It passes nothing on.
            relay_port: 0,
            evaluates: true,
            settings: measured.into(),
        };
        Ok(self.client.clone().watch_policy(request).await?.into_inner())
    }

    /// The bytes of an announced adapter, checked against its digest.
    ///
    /// # Errors
    /// When the learner does not answer, no longer has it, or sends something else.
    pub(crate) async fn adapter(&self, manifest: &Manifest) -> anyhow::Result<Bytes> {
        self.bytes(&manifest.adapter).await
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

    async fn status_from(&self, metrics_from: u64) -> anyhow::Result<RunStatus> {
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
        RunStatus::try_from(status.into_inner()).with_context(|| malformed(&self.endpoint))
    }

    async fn bytes(&self, artifact: &Artifact) -> anyhow::Result<Bytes> {
        let request = pb::FetchArtifactRequest {
            header: Some(self.header()),
            digest: Some(artifact.digest().into()),
            offset: 0,
        };
        let answer = self
            .client
            .clone()
            .fetch_artifact(request)
            .await
            .with_context(|| self.lost())?;
        let bytes = collected(artifact, answer.into_inner()).await;
        bytes.with_context(|| format!("{} of the learner at {}", artifact.name(), self.endpoint))
    }

    /// What the training of a version measured; nothing of the first one.
    ///
    /// # Errors
    /// When the learner does not answer, or has none.
    pub(crate) async fn metrics(&self, version: PolicyVersion) -> anyhow::Result<BTreeMap<String, f64>> {
        let Some(position) = version.number.checked_sub(1) else {
            return Ok(BTreeMap::new());
        };
        let mut found = self.status_from(position).await?.metrics.into_iter();
        let found = found.find(|metrics| metrics.version == version);
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

/// An artifact's bytes, as messages bring them one after the other.
async fn collected(
    artifact: &Artifact,
    mut messages: impl Stream<Item = Result<pb::ArtifactChunk, Status>> + Unpin,
) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    while let Some(message) = timeout(PATIENCE, messages.next())
        .await
        .context("it comes to a stop")?
    {
        let data = continued(artifact, bytes.len() as u64, message?)?;
        if data.is_empty() {
            bail!("a message brings nothing of it");
        }
        bytes.extend_from_slice(&data);
    }
    let bytes = Bytes::from(bytes);
    let (found, expected) = (store::digest_aside(bytes.clone()).await, artifact.digest());
    if found != expected {
        bail!("received bytes have digest {found}, announced was {expected}");
    }
    Ok(bytes)
}

fn malformed(endpoint: &str) -> String {
    format!("the learner at {endpoint} sent a malformed answer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    const BYTES: &[u8] = b"an adapter";

    fn message(offset: usize, data: &'static [u8]) -> Result<pb::ArtifactChunk, Status> {
        let (offset, data) = (offset as u64, data.into());
        Ok(pb::ArtifactChunk { offset, data })
    }

    /// What comes of an adapter whose messages are these.
    async fn fetched(
        messages: impl IntoIterator<Item = Result<pb::ArtifactChunk, Status>>,
    ) -> anyhow::Result<Bytes> {
        let (length, digest) = (BYTES.len() as u64, store::digest(BYTES));
        let artifact = Artifact::new("adapter_model.safetensors", length, digest, 8, vec![])?;
        collected(&artifact, stream::iter(messages)).await
    }

    #[tokio::test]
    async fn an_adapter_is_what_was_announced_or_an_error_that_says_what_came() {
        let (first, rest) = (message(0, b"an ada"), message(6, b"pter"));
        assert_eq!(fetched([first.clone(), rest]).await.unwrap(), BYTES);
        let cases = [
            (vec![first.clone()], "received bytes have digest"),
            (
                vec![first.clone(), message(6, b"pted")],
                "received bytes have digest",
            ),
            (vec![first.clone(), message(5, b"apter")], "5 where 6 comes next"),
            (vec![first.clone(), message(6, b"pters")], "more bytes came"),
            (vec![first.clone(), message(6, b"")], "brings nothing"),
            (vec![first, Err(Status::unavailable("gone"))], "gone"),
        ];
        for (messages, why) in cases {
            let error = format!("{:#}", fetched(messages).await.unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_learner_that_stops_in_the_middle_is_not_waited_for() {
        let artifact = Artifact::new("adapter", 10, store::digest(BYTES), 8, vec![]).unwrap();
        let begun = stream::iter([message(0, b"an ada")]).chain(stream::pending());
        let stopped = timeout(2 * PATIENCE, collected(&artifact, begun)).await;
        let error = stopped.expect("it waits on").unwrap_err();
        assert!(error.to_string().contains("comes to a stop"), "{error}");
    }
}

//! The same callers at an actor, which passes weights on and is asked for its health. What it would do meanwhile is held up.

use super::{is_served_again, lines_that_say_little_are_cut, others_are_closed_beyond, promptly};
use anyhow::{Context as _, Result, ensure};
use common::RunId;
use integration_tests::{ActorHandle, Gate, Learner, RewardServer, TestCluster, TextPainter};
use proto::pb::{self, relay_service_client::RelayServiceClient};
use proto::{QUESTION_BYTES, header};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Code;

/// An actor that renders nothing yet, and whom it depends on.
struct HeldUp {
    _cluster: TestCluster,
    reward: RewardServer,
    learner: Learner,
    actor: ActorHandle,
    gate: Gate,
    /// What it passes on.
    digest: pb::Digest,
}

impl HeldUp {
    async fn start(change: impl FnOnce(&mut TestCluster)) -> Result<Self> {
        let (cluster, learner) = super::learner(change).await?;
        let (reward, gate) = (cluster.start_reward().await?, Gate::default());
        let painter = Arc::new(TextPainter::behind(&gate));
        let actor = cluster.start_actor_with("relay", learner.address, reward.address, painter);
        let actor = actor.await?;
        // It has its weights when it renders.
        timeout(Duration::from_secs(60), gate.arrival()).await?;
        let request = pb::JoinRequest {
            header: Some(header(None, None, "early")),
            ..pb::JoinRequest::default()
        };
        let joined = learner.learner_client().await?.join(request).await?.into_inner();
        let policy = joined.policy.context("no policy")?;
        let adapter = policy.adapter.and_then(|adapter| adapter.digest);
        Ok(Self {
            _cluster: cluster,
            reward,
            learner,
            actor,
            gate,
            digest: adapter.context("no adapter")?,
        })
    }

    fn question(&self, caller: &str) -> Result<pb::FetchArtifactRequest> {
        let run = RunId::new("test-run")?;
        Ok(pb::FetchArtifactRequest {
            header: Some(header(Some(&run), None, caller)),
            digest: Some(self.digest.clone()),
            offset: 0,
        })
    }

    /// A new connection gets weights at once.
    async fn is_served(&self) -> Result<()> {
        promptly(async {
            let mut client = RelayServiceClient::connect(self.actor.url()).await?;
            let chunks = client.fetch_artifact(self.question("well behaved")?).await?;
            let first = chunks.into_inner().message().await?;
            ensure!(first.is_some_and(|chunk| !chunk.data.is_empty()), "no weights");
            Ok(())
        })
        .await
    }

    async fn stopped(self) -> Result<()> {
        drop(self.gate);
        self.actor.stopped().await??;
        self.learner.stopped().await??;
        self.reward.stopped().await??;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_cuts_lines_that_say_nothing_or_little_and_passes_weights_on_meanwhile() -> Result<()> {
    // As many as come here find a place.
    let held = HeldUp::start(|cluster| cluster.actor.max_connections = 256).await?;
    lines_that_say_little_are_cut(held.actor.address, held.is_served()).await?;
    held.stopped().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_closes_connections_beyond_its_limit_and_their_places_come_back() -> Result<()> {
    let held = HeldUp::start(|cluster| cluster.actor.max_connections = 8).await?;
    others_are_closed_beyond(8, held.actor.address).await?;
    is_served_again(async || held.is_served().await).await?;
    held.stopped().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_refuses_what_is_too_large_by_its_length_and_passes_weights_on() -> Result<()> {
    let held = HeldUp::start(|_| {}).await?;
    let mut client = RelayServiceClient::connect(held.actor.url()).await?;
    let question = held.question(&"x".repeat(QUESTION_BYTES))?;
    let refused = client.fetch_artifact(question).await.unwrap_err();
    // Not RESOURCE_EXHAUSTED: callers come again after that, and it would be as large then.
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    held.is_served().await?;
    held.stopped().await
}

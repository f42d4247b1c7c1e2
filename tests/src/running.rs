//! Services that run: where they listen, how they are asked, and how they end.

use actor::{ActorError, ActorSummary};
use anyhow::{Context, Result};
use learner::{LearnerError, RunSummary};
use proto::{
    MAX_MESSAGE_BYTES, header,
    pb::{self, learner_service_client::LearnerServiceClient, reward_service_client::RewardServiceClient},
};
use reward_server::RewardError;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// How long services may take to start.
const START: Duration = Duration::from_secs(60);

/// A started service.
pub struct Running<T> {
    /// Where it listens.
    pub address: SocketAddr,
    /// Asks it to stop.
    pub shutdown: CancellationToken,
    task: JoinHandle<T>,
}

/// A started learner.
pub type Learner = Running<Result<RunSummary, LearnerError>>;

/// A started actor.
pub type ActorHandle = Running<Result<ActorSummary, ActorError>>;

/// A started reward-server.
pub type RewardServer = Running<Result<(), RewardError>>;

impl<T: Send + 'static> Running<T> {
    pub(crate) fn start<F>(
        listener: TcpListener,
        service: impl FnOnce(TcpListener, CancellationToken) -> F,
    ) -> Result<Self>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (address, shutdown) = (listener.local_addr()?, CancellationToken::new());
        let task = tokio::spawn(service(listener, shutdown.clone()));
        Ok(Self {
            address,
            shutdown,
            task,
        })
    }

    /// Waits until it has ended by itself.
    pub async fn joined(self) -> Result<T> {
        Ok(self.task.await?)
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stopped(self) -> Result<T> {
        self.shutdown.cancel();
        self.joined().await
    }

    /// Kills it: no drain, no farewell.
    pub async fn killed(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

impl<T> Running<T> {
    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A bare client of a learner.
    pub async fn learner_client(&self) -> Result<LearnerServiceClient<Channel>> {
        Ok(LearnerServiceClient::connect(self.url())
            .await?
            .max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// A bare client of a reward-server that may send more than a server takes.
    pub async fn reward_client(&self) -> Result<RewardServiceClient<Channel>> {
        Ok(RewardServiceClient::connect(self.url())
            .await?
            .max_encoding_message_size(usize::MAX))
    }
}

impl Learner {
    /// Returns once so many actors have a version to sample from.
    pub async fn has_actors(&self, count: usize) -> Result<()> {
        let mut client = self.learner_client().await?;
        let here = async {
            loop {
                let request = pb::GetRunStatusRequest {
                    header: Some(header(None, None, "observer")),
                    metrics_from: 0,
                };
                let actors = client.get_run_status(request).await?.into_inner().actors;
                let ready = actors.iter().filter(|actor| actor.version.is_some());
                if ready.count() == count {
                    return Ok(());
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(START, here).await.context("not all actors have come")?
    }
}

impl RewardServer {
    /// Returns once it has its model.
    pub async fn answers(&self) -> Result<()> {
        let mut client = self.reward_client().await?;
        let question = pb::GetRewardModelRequest {
            header: Some(header(None, None, "early")),
        };
        timeout(START, client.get_reward_model(question)).await??;
        Ok(())
    }
}

//! For tests: a server on a free port of the loopback, and what is asked of it.

use crate::{
    Instruments, ModelSource, RewardError, RewardServerConfig, RewardServerInputs, ServedModel, run,
};
use data::cutout::encode_rgb_png;
use image::{Rgb, RgbImage};
use models::device::Placement;
use prometheus_client::encoding::prometheus_text::encode;
use proto::observe::Registry;
use proto::pb::reward_service_client::RewardServiceClient;
use proto::pb::{self, group_score};
use proto::{AllowLoopback, Authorizer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A client of a server.
pub(super) type Client = RewardServiceClient<Channel>;

/// A server that was started.
pub(super) struct Served {
    url: String,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), RewardError>>,
    run_complete: CancellationToken,
    instruments: Instruments,
}

/// How a server is started.
pub(super) struct Start {
    pub(super) config: RewardServerConfig,
    pub(super) deterministic: bool,
    pub(super) authorizer: Arc<dyn Authorizer>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            config: RewardServerConfig::default(),
            deterministic: false,
            authorizer: Arc::new(AllowLoopback),
        }
    }
}

impl Start {
    /// One with these settings.
    pub(super) fn with(change: impl FnOnce(&mut RewardServerConfig)) -> Self {
        let mut start = Self::default();
        change(&mut start.config);
        start
    }

    pub(super) async fn serve<M: ServedModel>(self, model: M) -> Served {
        self.serve_from(model, None).await
    }

    pub(super) async fn serve_from<M: ServedModel>(self, model: M, source: Option<ModelSource<M>>) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, run_complete) = (CancellationToken::new(), CancellationToken::new());
        let instruments = Instruments::default();
        let inputs = RewardServerInputs {
            model,
            source,
            placement: Placement::cpu(),
            run_complete: run_complete.clone(),
            deterministic: self.deterministic,
            authorizer: self.authorizer,
            transport: proto::tls::Transport::plain(),
            instruments: instruments.clone(),
        };
        let server = tokio::spawn(run(self.config, inputs, listener, shutdown.clone()));
        let served = Served {
            url,
            shutdown,
            server,
            run_complete,
            instruments,
        };
        // Whoever is turned away is answered too.
        let request = pb::GetServerStatusRequest::default();
        let _ready = served.client().await.get_server_status(request).await;
        served
    }
}

impl Served {
    /// A connection.
    pub(super) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// A client with a connection of its own.
    pub(super) async fn client(&self) -> Client {
        let client = RewardServiceClient::new(self.channel().await);
        client.max_encoding_message_size(usize::MAX)
    }

    /// What the server says of itself.
    pub(super) async fn status(&self) -> pb::RewardServerStatus {
        let request = pb::GetServerStatusRequest { header: header() };
        let mut client = self.client().await;
        client.get_server_status(request).await.unwrap().into_inner()
    }

    /// Waits until the server says so of itself.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&pb::RewardServerStatus) -> bool) {
        for _ in 0..500 {
            if is_so(&self.status().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", self.status().await);
    }

    /// Waits until so many groups wait for their scores.
    pub(super) async fn until_waiting(&self, groups: u64) {
        self.until("groups wait", |status| status.groups_waiting == groups)
            .await;
    }

    /// Asks on a connection of its own, in the background.
    pub(super) fn ask(
        &self,
        request: pb::ScoreGroupsRequest,
    ) -> JoinHandle<Result<pb::ScoreGroupsResponse, Status>> {
        let url = self.url.clone();
        tokio::spawn(async move {
            let client = RewardServiceClient::connect(url).await.unwrap();
            let mut client = client.max_encoding_message_size(usize::MAX);
            client
                .score_groups(request)
                .await
                .map(|answer| answer.into_inner())
        })
    }

    /// Tells it that its run is complete.
    pub(super) fn complete_run(&self) {
        self.run_complete.cancel();
    }

    /// Whether it takes requests, as it tells its callers and as it tells its process.
    pub(super) async fn readiness(&self) -> (bool, bool) {
        let mut health = HealthClient::new(self.channel().await);
        let answer = health.check(HealthCheckRequest::default()).await.unwrap();
        let serves = answer.into_inner().status() == ServingStatus::Serving;
        (serves, *self.instruments.pulse.readiness().borrow())
    }

    /// Its numbers for whoever watches it.
    pub(super) fn page(&self) -> String {
        let (mut registry, mut page) = (Registry::default(), String::new());
        self.instruments.register(&mut registry);
        encode(&mut page, &registry).unwrap();
        page
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(self) -> Result<(), RewardError> {
        timeout(Duration::from_secs(20), self.server)
            .await
            .unwrap()
            .unwrap()
    }

    /// Stops it; whatever was under way has its time.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
    }
}

pub(super) fn header() -> Option<pb::RequestHeader> {
    Some(proto::header(None, None, "actor-0"))
}

/// A request with groups of encoded pictures about a red chair.
pub(super) fn request(groups: Vec<Vec<Vec<u8>>>) -> pb::ScoreGroupsRequest {
    let group = |images: Vec<Vec<u8>>| pb::ImageGroup {
        caption: "red chair".into(),
        images: images.into_iter().map(Into::into).collect(),
        ..Default::default()
    };
    pb::ScoreGroupsRequest {
        header: header(),
        groups: groups.into_iter().map(group).collect(),
    }
}

/// The same with groups of flat pictures.
pub(super) fn shades(groups: &[&[u8]]) -> pb::ScoreGroupsRequest {
    let picture = |shade: &u8| encode_rgb_png(&RgbImage::from_pixel(4, 4, Rgb([*shade; 3])));
    let group = |shades: &&[u8]| shades.iter().map(picture).collect();
    request(groups.iter().map(group).collect())
}

/// Rewards of each group, or why there are none.
pub(super) fn rewards(answer: &pb::ScoreGroupsResponse) -> Vec<Result<Vec<f64>, pb::ScoreFailure>> {
    let result = |score: &pb::GroupScore| match score.result.clone().unwrap() {
        group_score::Result::Scores(scores) => Ok(scores.rewards),
        group_score::Result::Failure(failure) => Err(failure),
    };
    answer.scores.iter().map(result).collect()
}

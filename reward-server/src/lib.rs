//! The reward model as a service: it scores groups of candidate images by predicted click-through rate.
//!
//! Also here: training one from a click log ([`train`]) and measuring it ([`evaluate`]). The crate knows nothing of
//! policies, learners or who asks; what the networks compute is in [`models::ctr`].

mod calibration;
mod config;
mod dataset;
mod error;
mod evaluation;
mod forward;
mod orientation;
mod scorer;
mod served;
mod service;
#[cfg(test)]
mod toy_log;
mod training;

pub use config::{RewardConfig, RewardServerConfig};
pub use error::RewardError;
pub use evaluation::{RewardReport, check_log, evaluate};
pub use models::ctr::{CtrForm, RewardModel};
pub use orientation::OrientedMargins;
pub use scorer::{GroupScores, ScoreFailure, ScoreResult, score_groups};
pub use served::{CreativeGroup, Preparation, RawScores, ServedCaig, ServedModel};
pub use training::{LoadedTraining, RewardProgress, train, train_loaded};

use proto::pb::reward_service_server::RewardServiceServer;
use proto::{Authorizer, Door, MAX_MESSAGE_BYTES};
use scorer::Scorer;
use service::Service;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Calls of one connection that are worked on at the same time, each of which may hold a message of
/// [`MAX_MESSAGE_BYTES`]; an actor has one under way.
const CALLS_PER_CONNECTION: usize = 4;

/// Open streams of one connection.
const STREAMS_PER_CONNECTION: u32 = 16;

/// Longest time from a call's first byte to its answer, waiting for other calls included: nobody is served who sends a
/// byte a minute.
const CALL_TIME: Duration = Duration::from_secs(300);

/// How long a connection may be silent before the caller is asked whether it lives, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves `model` on `listener` until `shutdown` is cancelled, then finishes the requests under way.
///
/// # Errors
/// [`RewardError::Config`], [`RewardError::Model`] when the model has no digest (it holds NaN), [`RewardError::Compute`]
/// when its thread cannot be started, [`RewardError::Serve`] when the connection fails, [`RewardError::DrainTimeout`] when
/// requests were still under way at the deadline.
pub async fn run<M: ServedModel>(
    config: RewardServerConfig,
    model: M,
    authorizer: Arc<dyn Authorizer>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), RewardError> {
    config.validate()?;
    let scorer = Scorer::new(model, &config)?;
    tracing::info!(digest = %scorer.digest(), form = %scorer.form(), "reward model ready");
    let door = Door::of(authorizer.clone());
    let service = RewardServiceServer::new(Service::new(scorer, authorizer, config.queue))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let service = InterceptedService::new(service, door);
    let asked = shutdown.clone().cancelled_owned();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .timeout(CALL_TIME)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, asked);
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.drain_timeout()).await;
    };
    tokio::select! {
        served = serving => Ok(served?),
        () = deadline => Err(RewardError::DrainTimeout { seconds: config.drain_timeout_s }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy_log::{flat, model};
    use data::cutout::encode_rgb_png;
    use proto::pb::reward_service_client::RewardServiceClient;
    use proto::pb::{self, ScoreFailureReason, group_score};
    use proto::{AllowLoopback, Call, Denied, PeerDenied};
    use std::net::SocketAddr;
    use tonic::Code;
    use tonic::transport::Channel;

    /// Serves a siamese model; returns a client, the stop token and the server's task.
    async fn serve(
        authorizer: Arc<dyn Authorizer>,
    ) -> (
        RewardServiceClient<Channel>,
        CancellationToken,
        tokio::task::JoinHandle<Result<(), RewardError>>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let config = RewardServerConfig::default();
        let server = run(
            config,
            model(CtrForm::Siamese, 3),
            authorizer,
            listener,
            shutdown.clone(),
        );
        let server = tokio::spawn(server);
        (RewardServiceClient::connect(url).await.unwrap(), shutdown, server)
    }

    fn request(groups: Vec<Vec<Vec<u8>>>) -> pb::ScoreGroupsRequest {
        let group = |images| pb::ImageGroup {
            caption: "red chair".into(),
            images,
        };
        pb::ScoreGroupsRequest {
            header: Some(proto::header(None, None, "actor-0")),
            groups: groups.into_iter().map(group).collect(),
        }
    }

    fn png(shade: u8) -> Vec<u8> {
        encode_rgb_png(&flat(shade))
    }

    #[tokio::test]
    async fn scores_cross_the_wire_and_a_broken_picture_fails_its_own_group_only() {
        let (mut client, shutdown, server) = serve(Arc::new(AllowLoopback)).await;
        let groups = vec![vec![png(10), png(200)], vec![png(10), b"no picture".to_vec()]];
        let answer = client.score_groups(request(groups)).await.unwrap().into_inner();
        let group = CreativeGroup {
            caption: "red chair".into(),
            creatives: vec![flat(10), flat(200)],
        };
        let model = model(CtrForm::Siamese, 3);
        let expected = score_groups(&model, &[group], 256).remove(0).unwrap();
        match answer.scores[0].result.as_ref().unwrap() {
            group_score::Result::Scores(scores) => assert_eq!(scores.rewards, expected.rewards),
            group_score::Result::Failure(failure) => panic!("{failure:?}"),
        }
        match answer.scores[1].result.as_ref().unwrap() {
            group_score::Result::Failure(failure) => {
                assert_eq!(failure.reason(), ScoreFailureReason::InvalidImage);
                assert!(failure.detail.starts_with("image 1:"), "{}", failure.detail);
            }
            group_score::Result::Scores(scores) => panic!("{scores:?}"),
        }
        assert_eq!(answer.reward_model.unwrap().blake3, model.digest().unwrap());
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn malformed_requests_are_refused_whole() {
        let (mut client, shutdown, server) = serve(Arc::new(AllowLoopback)).await;
        let no_groups = request(vec![]);
        let lonely = request(vec![vec![png(1), png(2)], vec![png(1)]]);
        let nameless = pb::ScoreGroupsRequest {
            header: None,
            ..request(vec![vec![png(1), png(2)]])
        };
        for (request, named) in [(no_groups, "groups"), (lonely, "group 1"), (nameless, "header")] {
            let status = client.score_groups(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(named), "{status:?}");
        }
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_may_not_connect_is_turned_away_before_the_message_is_read() {
        struct Closed;
        impl Authorizer for Closed {
            fn admit(&self, peer: Option<SocketAddr>) -> Result<(), PeerDenied> {
                Err(PeerDenied::new(peer, "closed"))
            }

            fn authorize(&self, _: &Call<'_>) -> Result<(), Denied> {
                panic!("a call was read")
            }
        }
        let (client, shutdown, server) = serve(Arc::new(Closed)).await;
        // More than a message may have: who reads it says so.
        let oversized = request(vec![vec![vec![0; MAX_MESSAGE_BYTES]; 2]]);
        let mut client = client.max_encoding_message_size(usize::MAX);
        let status = client.score_groups(oversized).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert!(status.message().contains("127.0.0.1"), "{status:?}");
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_served_model_is_named_and_every_method_asks_the_authorizer() {
        struct OnlyActor0;
        impl Authorizer for OnlyActor0 {
            fn admit(&self, _: Option<SocketAddr>) -> Result<(), PeerDenied> {
                Ok(())
            }

            fn authorize(&self, call: &Call<'_>) -> Result<(), Denied> {
                let denied = || Denied {
                    method: call.method,
                    caller: call.caller.to_owned(),
                    reason: "not on the list".into(),
                };
                if call.caller == "actor-0" {
                    Ok(())
                } else {
                    Err(denied())
                }
            }
        }
        let (mut client, shutdown, server) = serve(Arc::new(OnlyActor0)).await;
        let ask = |caller: &str| pb::GetRewardModelRequest {
            header: Some(proto::header(None, None, caller)),
        };
        let served = client
            .get_reward_model(ask("actor-0"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(served.form, "siamese");
        assert_eq!(
            served.digest.unwrap().blake3,
            model(CtrForm::Siamese, 3).digest().unwrap()
        );
        let status = client.get_reward_model(ask("mallory")).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        let mut foreign = request(vec![vec![png(1), png(2)]]);
        foreign.header = Some(proto::header(None, None, "mallory"));
        assert_eq!(
            client.score_groups(foreign).await.unwrap_err().code(),
            Code::PermissionDenied
        );
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}

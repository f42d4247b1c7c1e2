//! The server from outside, over real connections.

mod reloading;
mod run_end;
mod served;
mod sharing;
mod shedding;

use super::*;
use crate::toy_log::{flat, model};
use data::cutout::encode_rgb_png;
use proto::pb::{self, ScoreFailureReason, group_score};
use proto::{Call, Denied, PeerDenied};
use served::{Served, Start, request};
use tonic::Code;

/// Serves a siamese model.
async fn serve(authorizer: impl Authorizer + 'static) -> Served {
    let start = Start {
        authorizer: Arc::new(authorizer),
        ..Start::default()
    };
    start.serve(model(CtrForm::Siamese, 3)).await
}

fn png(shade: u8) -> Vec<u8> {
    encode_rgb_png(&flat(shade))
}

#[tokio::test]
async fn scores_cross_the_wire_and_a_broken_picture_fails_its_own_group_only() {
    let server = serve(proto::AllowLoopback).await;
    let mut client = server.client().await;
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
    server.stop().await;
}

#[tokio::test]
async fn whoever_asks_is_told_that_the_server_is_well() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    let server = serve(proto::AllowLoopback).await;
    let mut client = HealthClient::new(server.channel().await);
    let answer = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    server.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_refused_whole() {
    let server = serve(proto::AllowLoopback).await;
    let mut client = server.client().await;
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
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_connect_is_turned_away_before_the_message_is_read() {
    struct Closed;
    impl Authorizer for Closed {
        fn admit(&self, peer: &proto::Remote) -> Result<(), PeerDenied> {
            Err(PeerDenied::new(peer, "closed"))
        }

        fn authorize(&self, _: &Call<'_>) -> Result<(), Denied> {
            panic!("a call was read")
        }
    }
    let server = serve(Closed).await;
    // More than a message may have: who reads it says so.
    let oversized = request(vec![vec![vec![0; MAX_MESSAGE_BYTES]; 2]]);
    let mut client = server.client().await;
    let status = client.score_groups(oversized).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains("127.0.0.1"), "{status:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_served_model_is_named_and_every_method_asks_the_authorizer() {
    struct OnlyActor0;
    impl Authorizer for OnlyActor0 {
        fn admit(&self, _: &proto::Remote) -> Result<(), PeerDenied> {
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
    let server = serve(OnlyActor0).await;
    let mut client = server.client().await;
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
    server.stop().await;
}

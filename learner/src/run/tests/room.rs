//! A learner that is sent more than it may hold.

use super::*;
use bytes::Bytes;
use http_body::Frame;
use proto::MAX_OUTCOMES_BYTES;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service as _;

/// A request that says how long it is, comes in part, and no further.
struct Stalled(Option<Bytes>);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .take()
            .map_or(Poll::Pending, |part| Poll::Ready(Some(Ok(Frame::data(part)))))
    }
}

/// Outcomes of `bytes`, of which all but one arrive.
fn stalled(bytes: usize) -> http::Request<Body> {
    let mut message = vec![0];
    message.extend((bytes as u32).to_be_bytes());
    message.resize(4 + bytes, 0);
    http::Request::post("/adwright.v1.LearnerService/SubmitOutcomes")
        .header("content-type", "application/grpc")
        .body(Body::new(Stalled(Some(message.into()))))
        .unwrap()
}

/// What an actor with `bytes` of words about a failure hears, as soon as it is `expected` or else after some seconds.
async fn hears(
    actor: &mut TestActor,
    bytes: usize,
    expected: impl Fn(&Result<(), Status>) -> bool,
) -> Result<(), Status> {
    let begun = Instant::now();
    loop {
        let failed = pb::Failed {
            reason: pb::FailureReason::Sampling.into(),
            detail: "x".repeat(bytes),
            ..Default::default()
        };
        let request = pb::SubmitOutcomesRequest {
            header: actor.header(),
            outcomes: vec![pb::RolloutOutcome {
                task: 0,
                outcome: Some(pb::rollout_outcome::Outcome::Failed(failed)),
            }],
            ..Default::default()
        };
        let heard = actor.client.submit_outcomes(request).await.map(drop);
        if expected(&heard) || begun.elapsed() > Duration::from_secs(20) {
            return heard;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_no_room_is_asked_to_come_again_and_is_heard_once_there_is_some() {
    let running = start(LearnerConfig {
        memory_bytes: MAX_OUTCOMES_BYTES,
        ..config()
    })
    .await;
    let mut actor = TestActor::join(&running.url, "actor").await;
    let mut channel = Channel::from_shared(running.url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let slow = tokio::spawn(channel.call(stalled(MAX_OUTCOMES_BYTES - 100)));

    let refused = hears(&mut actor, 1 << 20, Result::is_err).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("learner.memory_bytes"), "{refused}");
    assert_eq!(
        proto::WireError::retry_after(&refused),
        Some(Duration::from_millis(100))
    );

    slow.abort();
    hears(&mut actor, 1 << 20, Result::is_ok).await.unwrap();
    running.shutdown.cancel();
    running.ended.await.unwrap().unwrap();
}

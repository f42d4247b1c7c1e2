//! A request that is not well formed.

use super::*;
use prometheus_client::encoding::prometheus_text::encode;
use proto::observe::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_submission_counts_when_a_part_of_it_is_malformed() {
    let directory = tempfile::tempdir().unwrap();
    policy().save(&directory.path().join("policy")).unwrap();
    let (inputs, instruments) = (inputs(directory.path()), Instruments::default());
    let watched = LearnerInputs {
        instruments: instruments.clone(),
        ..inputs
    };
    let running = start_with(config(), watched, Arc::new(directory)).await;
    let mut actor = TestActor::join(&running.url, "a").await;
    let mut submit = async |outcomes| {
        let request = pb::SubmitOutcomesRequest {
            header: actor.header(),
            outcomes,
            compute_seconds: 7.5,
            ..Default::default()
        };
        let answer = actor.client.submit_outcomes(request).await;
        let mut registry = Registry::default();
        instruments.register(&mut registry);
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("rollout_compute_seconds_total{role=\"actor\"} "));
        let code = answer.map_or_else(|status| status.code(), |_| tonic::Code::Ok);
        (code, line.map(str::to_owned))
    };
    let failed = RolloutOutcome::Failed {
        task: common::TaskId(3),
        reason: common::FailureReason::Sampling,
        retryable: true,
        blame: common::Blame::Task,
        detail: String::new(),
    };
    let (whole, nothing) = (pb::RolloutOutcome::from(&failed), pb::RolloutOutcome::default());
    let refused = submit(vec![whole.clone(), nothing]).await;
    assert_eq!(refused, (tonic::Code::InvalidArgument, Some("0.0".into())));
    let taken = submit(vec![whole]).await;
    assert_eq!(taken, (tonic::Code::Ok, Some("7.5".into())));
    running.shutdown.cancel();
    running.ended.await.unwrap().unwrap();
}

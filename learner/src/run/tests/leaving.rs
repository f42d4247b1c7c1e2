//! Whom a complete run waits for, and for whom it does not.

use super::*;

/// Hands these tasks back and says that it leaves.
async fn leave(actor: &mut TestActor, tasks: Vec<u64>) -> u32 {
    let request = pb::ReturnTasksRequest {
        header: actor.header(),
        tasks,
        leaves: true,
    };
    actor
        .client
        .return_tasks(request)
        .await
        .unwrap()
        .into_inner()
        .returned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_run_does_not_wait_for_actors_that_were_drained_just_before_its_end() {
    let running = start(LearnerConfig {
        linger_ms: 60_000,
        ..config()
    })
    .await;
    let mut busy = TestActor::join(&running.url, "busy").await;
    let Answer::Lease(lease) = busy.lease().await else {
        panic!("no lease")
    };
    let tasks: Vec<u64> = lease.tasks.iter().map(|task| task.task).collect();
    let mut waiting = TestActor::join(&running.url, "waiting").await;
    assert!(matches!(
        waiting.lease().await,
        Answer::Lease(_) | Answer::Wait(_)
    ));
    assert_eq!(leave(&mut busy, tasks.clone()).await, tasks.len() as u32);
    let Answer::Lease(again) = waiting.lease().await else {
        panic!("no lease")
    };
    let again = again.tasks.iter().map(|task| task.task).collect();
    leave(&mut waiting, again).await;
    // One that holds nothing.
    assert_eq!(leave(&mut waiting, vec![]).await, 0);
    TestActor::join(&running.url, "last").await.work(made_up).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), running.ended).await;
    let summary = ended.expect("it waits for who has left").unwrap().unwrap();
    assert!(summary.complete);
    assert_eq!(summary.actors.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_run_waits_for_whoever_still_follows_it() {
    let running = start(config()).await;
    let mut observer = LearnerServiceClient::connect(running.url.clone()).await.unwrap();
    let watch = pb::WatchPolicyRequest {
        header: Some(header(None, None, "observer")),
        after: None,
        relay_port: 0,
        evaluates: false,
        settings: Default::default(),
    };
    let mut news = observer.watch_policy(watch).await.unwrap().into_inner();
    TestActor::join(&running.url, "a").await.work(made_up).await;
    while !news.message().await.unwrap().unwrap().last {}
    // Much longer than it takes to close the doors.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = pb::GetRunStatusRequest {
        header: Some(header(None, None, "observer")),
        metrics_from: 0,
    };
    let status = observer.get_run_status(status).await.unwrap().into_inner();
    assert_eq!(status.metrics.len(), 2);
    let left = Instant::now();
    drop((news, observer));
    assert!(running.ended.await.unwrap().unwrap().complete);
    assert!(left.elapsed() < Duration::from_secs(2), "it waited for nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_run_waits_for_held_out_results_of_its_last_version_and_for_no_others() {
    for evaluates in [true, false] {
        let running = start(LearnerConfig {
            linger_ms: 500,
            ..config()
        })
        .await;
        let mut observer = LearnerServiceClient::connect(running.url.clone()).await.unwrap();
        let watch = pb::WatchPolicyRequest {
            header: Some(header(None, None, "observer")),
            after: None,
            relay_port: 0,
            evaluates,
            settings: Default::default(),
        };
        let mut news = observer.watch_policy(watch).await.unwrap().into_inner();
        TestActor::join(&running.url, "a").await.work(made_up).await;
        let last = loop {
            let manifest = news.message().await.unwrap().unwrap();
            if manifest.last {
                break manifest.version;
            }
        };
        if evaluates {
            // Much longer than it waits for others.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let evaluation = pb::ReportEvaluationRequest {
                header: Some(header(None, None, "observer")),
                version: last,
                values: [("reward".to_owned(), 0.25)].into(),
            };
            observer.report_evaluation(evaluation).await.unwrap();
        }
        // The stream is still open.
        let ended = tokio::time::timeout(Duration::from_secs(20), running.ended).await;
        let summary = ended.expect("it waits no longer").unwrap().unwrap();
        assert!(summary.complete && news.message().await.unwrap().is_none());
    }
}

//! A complete run, and actors that have left it before its end.

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

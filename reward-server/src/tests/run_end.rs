//! What a server does once its run is complete.

use super::served::{Served, Start, rewards, shades};
use crate::OnRunEnd;
use crate::reload::ModelSource;
use crate::scripted::Scripted;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Code;

const NOW: f64 = 0.0;

async fn serve(model: &Scripted, on_run_end: OnRunEnd, linger_s: f64) -> Served {
    let start = Start::with(|config| (config.on_run_end, config.linger_s) = (on_run_end, linger_s));
    start.serve(model.clone()).await
}

/// Waits until the server does not take requests any more.
async fn until_idle(server: &Served) {
    let idle = async {
        while server.readiness().await != (false, false) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), idle).await.expect("it is ready");
}

#[tokio::test]
async fn an_idle_server_holds_no_model_is_not_ready_and_says_why_it_refuses_until_it_is_stopped() {
    let model = Scripted::named(1);
    let directory = tempfile::tempdir().unwrap();
    let another = model.clone();
    let source = ModelSource::new(directory.path(), move || Ok(another.clone()));
    let asked = source.asked.clone();
    let start = Start::with(|config| (config.on_run_end, config.linger_s) = (OnRunEnd::Idle, NOW));
    let server = start.serve_from(model.clone(), Some(source)).await;
    let answer = server.ask(shades(&[&[1, 2]])).await.unwrap().unwrap();
    assert!(rewards(&answer)[0].is_ok());
    assert_eq!((model.copies(), server.readiness().await), (3, (true, true)));
    assert!(server.page().contains("\nlearner_run_complete 0.0\n"));
    assert!(server.page().contains("reward_model_info{"));

    server.complete_run();
    until_idle(&server).await;
    let gone = async {
        // The test's own. That of the source goes with the looking for another one.
        while model.copies() > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), gone)
        .await
        .expect("the model is still there");
    // Nor does another one come.
    asked.notify_one();
    let mut client = server.client().await;
    let refused = client.score_groups(shades(&[&[1, 2]])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("run is complete"), "{refused}");
    let page = server.page();
    assert!(page.contains("\nlearner_run_complete 1.0\n"), "{page}");
    assert!(page.contains("\nreward_cache_groups 0.0\n"), "{page}");
    assert!(!page.contains("reward_model_info{"), "{page}");
    assert_eq!(server.readiness().await, (false, false));
    server.stop().await;
}

#[tokio::test]
async fn whoever_asks_when_the_run_ends_or_soon_after_is_answered_first() {
    let model = Scripted::named(1);
    let server = serve(&model, OnRunEnd::Idle, 1.5).await;
    model.close();
    let under_way = server.ask(shades(&[&[1, 2]]));
    server.until_waiting(1).await;
    server.complete_run();
    // Longer than it lingers.
    sleep(Duration::from_millis(2_000)).await;
    assert_eq!(server.readiness().await, (true, true));
    model.open();
    assert!(under_way.await.unwrap().is_ok());
    for shade in 0..6 {
        sleep(Duration::from_millis(300)).await;
        server.ask(shades(&[&[10 + shade, 90]])).await.unwrap().unwrap();
    }
    until_idle(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_exits_with_its_run_ends_by_itself_and_well() {
    let model = Scripted::named(1);
    let server = serve(&model, OnRunEnd::Exit, NOW).await;
    server.ask(shades(&[&[1, 2]])).await.unwrap().unwrap();
    server.complete_run();
    server.ended().await.unwrap();
    assert_eq!(model.copies(), 1);
}

#[tokio::test]
async fn a_server_that_serves_on_does_so_whatever_becomes_of_a_run() {
    let model = Scripted::named(1);
    let server = serve(&model, OnRunEnd::Serve, NOW).await;
    server.complete_run();
    sleep(Duration::from_millis(300)).await;
    server.ask(shades(&[&[1, 2]])).await.unwrap().unwrap();
    assert_eq!(server.readiness().await, (true, true));
    server.stop().await;
}

//! Reward-servers that follow their run: what they do once it is complete, and not before.

use crate::http::{number, page_of};
use crate::mutual_tls::{certify, channel};
use crate::program::{signal, wait_until};
use crate::reward_server::asked;
use crate::stage::{CERTIFICATES, Place, Stage};
use crate::watched::{health, watched_at};
use proto::PeerRole;
use tonic::Code;

const RUN: &str = "followed";

/// A reward-server that follows the run of a learner.
fn follower<'a>(stage: &'a Stage, learner: &Place<'_>, on_run_end: &str) -> Place<'a> {
    stage.reward_server_with(&[
        format!("run.id={RUN}"),
        format!("endpoints.learner={}", learner.url()),
        format!("reward_server.on_run_end={on_run_end}"),
        "reward_server.linger_s=2".into(),
        "telemetry.metrics_listen=127.0.0.1:0".into(),
    ])
}

#[test]
fn reward_servers_idle_or_end_with_their_run_and_outlast_a_learner_that_is_away() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    certify(directory, RUN, CERTIFICATES);
    let mut learner = stage.learner(RUN, &[]);
    let (mut idle, mut exit) = (
        follower(&stage, &learner, "idle"),
        follower(&stage, &learner, "exit"),
    );
    let pages = [&idle, &exit].map(|role| watched_at(&role.log()));
    let run = format!("run.id={RUN}");
    let mut actor = stage.actor_with("only", &learner, &idle, &[&run]);
    learner.line_with("published");

    // The run does not end before they have seen its learner come back.
    signal(actor.process(), "STOP");
    learner.role = None;
    idle.line_with("the learner is away");
    exit.line_with("the learner is away");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for page in &pages {
        assert_eq!(runtime.block_on(health(page, "")), "Serving");
        assert_eq!(number(&page_of(page), "learner_run_complete"), 0.0);
    }
    learner.restart();
    idle.line_with("the learner announces again");
    exit.line_with("the learner announces again");
    signal(actor.process(), "CONT");
    wait_until("the run does not end", || learner.has_ended());
    assert!(learner.succeeded() && actor.succeeded());

    wait_until("it serves a run that is complete", || exit.has_ended());
    assert!(exit.succeeded());
    let [page, _] = &pages;
    wait_until("it is ready", || {
        runtime.block_on(health(page, "")) == "NotServing"
    });
    assert_eq!(runtime.block_on(health(page, "liveness")), "Serving");
    idle.line_with("the model is unloaded");
    let numbers = page_of(page);
    assert_eq!(number(&numbers, "learner_run_complete"), 1.0);
    assert!(!numbers.contains("reward_model_info{"), "{numbers}");
    let refused = runtime.block_on(async {
        let certificates = directory.join(CERTIFICATES);
        let to_idle = channel(&certificates, "actor", PeerRole::RewardServer, &idle.url());
        asked(to_idle).await.unwrap_err()
    });
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("run is complete"), "{refused}");
    signal(idle.process(), "TERM");
    assert!(idle.succeeded());
}

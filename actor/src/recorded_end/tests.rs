//! What counts as a run's end, whom it ends, and when nobody looks for one.

use super::*;
use crate::leaving::tests::rollouts;
use crate::scripted_learner::{Script, join, manifest};
use crate::simulated::stand_ins::{Unrendered, Unscored};
use crate::{ActorConfig, LastAttempt};
use common::run_end::taken_key;
use common::{ActorId, Digest, PolicyVersion};
use proto::Tcp;
use serde_json::{Value, json};
use std::future::pending;
use tokio::time::Instant;
use tonic::Status;

/// What the scripted learner serves.
const RUN: &str = "run-1";

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

fn version(epoch: u64, number: u64) -> PolicyVersion {
    let epoch = LearnerEpoch(epoch);
    PolicyVersion { epoch, number }
}

fn end(name: &str, version: PolicyVersion) -> RunEnd {
    RunEnd::new(run(name), version, Digest::from_bytes([7; 32]), 24, 1)
}

/// A store in which `epoch` has completed a run of that name with so many versions.
async fn ended(name: &str, epoch: u64, versions: u64) -> Store {
    let store = Store::open("memory:///").unwrap();
    let end = serde_json::to_vec(&end(name, version(epoch, versions))).unwrap();
    let key = complete_key(&run(name), LearnerEpoch(epoch));
    store.put(&key, end).await.unwrap();
    store
}

/// A learner at an address where nobody is.
fn nobody() -> Peer {
    let config = ActorConfig::default();
    let name = ActorId::new("late").unwrap();
    LearnerClient::at("http://127.0.0.1:7000", Arc::new(Tcp), &name, &config)
}

/// Whom a newcomer to a run of 12 versions looks in `store` for.
fn newcomer(store: Store, learner: &Peer) -> EndWatch {
    let (id, versions) = (run(RUN), 12);
    EndWatch::new(Some((store, ExpectedRun { id, versions })), learner)
}

/// Waits for a learner for good.
async fn waiting() -> Result<(), ActorError> {
    pending().await
}

fn given_up() -> ActorError {
    ActorError::Unreachable {
        role: "learner",
        url: "http://127.0.0.1:7000".into(),
        waited_s: 1.0,
        source: LastAttempt::from(Status::unavailable("connection refused")),
    }
}

#[tokio::test]
async fn an_end_is_read_as_it_was_written() {
    let store = ended(RUN, 2, 12).await;
    let expected = end(RUN, version(2, 12));
    assert_eq!(recorded_end(&store, &run(RUN)).await.unwrap(), Some(expected));
    assert_eq!(recorded_end(&store, &run("run-2")).await.unwrap(), None);
    // Somebody has taken it up.
    let taken = taken_key(&run(RUN), LearnerEpoch(3));
    store.put(&taken, "{}").await.unwrap();
    assert_eq!(recorded_end(&store, &run(RUN)).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_record_of_the_runs_end_is_refused_with_its_address_and_ends_nobody() {
    let good = serde_json::to_value(end(RUN, version(2, 12))).unwrap();
    let with = |key: &str, value: Value| {
        let mut other = good.clone();
        other[key] = value;
        other.to_string()
    };
    let refused = [
        ("run run-2", with("run", "run-2".into())),
        ("epoch 3", with("version", json!({"epoch": 3, "number": 12}))),
        ("format 2, expected 1", with("format", 2.into())),
        ("`lasts`", with("lasts", true.into())),
        ("digest", with("adapter", "blake3:7".into())),
        ("../up", with("run", "../up".into())),
        ("missing field `format`", "{}".into()),
        ("EOF", String::new()),
        ("bytes", " ".repeat(LONGEST as usize + 1)),
    ];
    for (why, json) in refused {
        let store = Store::open("memory:///").unwrap();
        let key = complete_key(&run(RUN), LearnerEpoch(2));
        store.put(&key, json).await.unwrap();
        let error = recorded_end(&store, &run(RUN)).await.unwrap_err().to_string();
        let addressed = format!("{key} in {}", store.url());
        assert!(error.starts_with(&addressed) && error.contains(why), "{error}");
        let learner = nobody();
        learner.presence().missed();
        assert!(!newcomer(store, &learner).is_over().await);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_misses_the_learner_finds_the_end_and_before_nobody_looks() {
    let learner = nobody();
    let mut end = newcomer(ended(RUN, 2, 12).await, &learner);
    let begun = Instant::now();
    let mut over = std::pin::pin!(end.unless_over(waiting()));
    // It has not been asked for the first time yet, and then it answers.
    assert!(timeout(Duration::from_secs(300), &mut over).await.is_err());
    learner.presence().missed();
    learner.presence().answered();
    assert!(timeout(Duration::from_secs(300), &mut over).await.is_err());
    learner.presence().missed();
    assert_eq!(over.await.unwrap(), None);
    assert!(
        begun.elapsed() <= Duration::from_secs(602),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_that_comes_while_the_learner_is_missed_is_found_within_the_longest_pause() {
    let learner = nobody();
    learner.presence().missed();
    let (store, written) = (Store::open("memory:///").unwrap(), ended(RUN, 2, 12).await);
    let mut end = newcomer(store.clone(), &learner);
    let mut over = std::pin::pin!(end.unless_over(waiting()));
    assert!(timeout(Duration::from_secs(300), &mut over).await.is_err());
    let key = complete_key(&run(RUN), LearnerEpoch(2));
    store.put(&key, written.get(&key).await.unwrap()).await.unwrap();
    let found = timeout(LONGEST_PAUSE, over).await;
    assert_eq!(found.expect("within a pause").unwrap(), None);
}

#[tokio::test]
async fn an_answer_counts_before_any_record_and_a_record_before_giving_up() {
    let learner = nobody();
    learner.presence().missed();
    let mut end = newcomer(ended(RUN, 2, 12).await, &learner);
    assert_eq!(end.unless_over(async { Ok(7) }).await.unwrap(), Some(7));
    let gave_up = || async { Err::<(), _>(given_up()) };
    assert_eq!(end.unless_over(gave_up()).await.unwrap(), None);
    // Somebody else is away.
    learner.presence().answered();
    assert!(end.unless_over(gave_up()).await.is_err());
}

#[tokio::test]
async fn a_newcomer_waits_for_a_learner_that_is_to_make_more_versions_than_the_run_ended_with() {
    let learner = nobody();
    learner.presence().missed();
    for (versions, over) in [(11, false), (12, true), (13, true)] {
        let mut end = newcomer(ended(RUN, 2, versions).await, &learner);
        assert_eq!(end.is_over().await, over, "{versions}");
    }
}

#[tokio::test]
async fn i6_whoever_has_joined_a_run_believes_its_ends_alone_and_none_of_an_earlier_epoch() {
    // It serves in epoch 2.
    let (learner, _, _) = join(manifest(2, 3, b"x"), Script::default()).await;
    learner.peer().presence().missed();
    for (name, epoch, over) in [
        (RUN, 1, false),
        (RUN, 2, true),
        (RUN, 3, true),
        ("other", 2, false),
    ] {
        let expected = ExpectedRun {
            id: run("other"),
            versions: 12,
        };
        // At fewer versions than it was told to expect.
        let mut end = EndWatch::new(Some((ended(name, epoch, 4).await, expected)), learner.peer());
        end.joined(&learner);
        assert_eq!(end.is_over().await, over, "{name} {epoch}");
    }
}

#[tokio::test]
async fn an_actor_whose_learner_is_gone_ends_as_one_that_was_told_of_the_last_version() {
    // Nobody answers its requests for tasks.
    let mut rollouts = rollouts(manifest(2, 3, b"x"), Unrendered, Unscored).await;
    let learner = rollouts.learner.clone();
    let expected = ExpectedRun {
        id: run(RUN),
        versions: 12,
    };
    let mut end = EndWatch::new(Some((ended(RUN, 2, 4).await, expected)), learner.peer());
    end.joined(&learner);
    end.while_rolling_out(&mut rollouts).await.unwrap();
    assert!(rollouts.summary.complete);
}

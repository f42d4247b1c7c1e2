//! What becomes of an actor that is at work when its run ends, or that leaves before.

mod room;

use super::LAST_TASKS;
use crate::scripted_learner::{Script, manifest, serve};
use crate::stages::{Render, Score, Service};
use crate::{
    ActorConfig, ActorError, ActorSummary,
    background::Background,
    failure::PerTask,
    learner_client::{LearnerClient, Lease},
    leaving::tests::{rollouts, rollouts_of},
    products::CutOut,
    recorded_end::EndWatch,
    rendering::RenderedGroup,
    reward_client::GroupRewards,
    shelf::Shelf,
    simulated::Joined,
};
use common::{ActorId, Digest, Trajectory};
use proto::{Tcp, WireError, pb};
use std::{
    future::{pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// An actor at work on one lease.
struct AtWork {
    script: Arc<Mutex<Script>>,
    /// Ends its sampling.
    sampled: CancellationToken,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<ActorSummary, ActorError>>,
}

impl AtWork {
    /// It samples until it is told, and the learner announces `next` meanwhile.
    async fn begin(next: pb::PolicyManifest) -> Self {
        Self::begin_bearing(0.5, next, None).await
    }

    /// The same of one that bears a learner's absence for so many seconds. Whoever asks for more is refused so, or told that nobody serves.
    async fn begin_bearing(
        learner_timeout_s: f64,
        next: pb::PolicyManifest,
        refusal: Option<Status>,
    ) -> Self {
        let task = pb::ProductTask {
            task: 5,
            product: "lamp".into(),
            image: Some(Digest::from_bytes([1; 32]).into()),
            ..Default::default()
        };
        let lease = pb::TaskLease {
            tasks: vec![task],
            ttl_ms: 24 * 3_600_000,
            reward_model: None,
        };
        let mut script = Script {
            announced: vec![next],
            lease: Some(lease),
            refusal,
            ..Script::default()
        };
        for adapter in [FIRST, NEXT] {
            script.artifacts.insert(store::digest(adapter), adapter.to_vec());
        }
        let (url, script) = serve(manifest(2, 3, FIRST), script).await;
        let config = ActorConfig {
            learner_timeout_s,
            drain_timeout_s: 0.1,
            ..ActorConfig::default()
        };
        let (sampled, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let ended = tokio::spawn(at_work(config, url, sampled.clone(), shutdown.clone()));
        let this = Self {
            script,
            sampled,
            shutdown,
            ended,
        };
        this.until(|script| script.lease.is_none()).await;
        // Both adapters were asked for: it has heard of the next version.
        this.until(|script| script.offsets.len() >= 2).await;
        this
    }

    async fn until(&self, is_so: impl Fn(&Script) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.script.lock().unwrap()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never came to that");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn returned(&self) -> Vec<(Vec<u64>, bool)> {
        let script = self.script.lock().unwrap();
        let returned = script.returned.iter();
        returned.map(|said| (said.tasks.clone(), said.leaves)).collect()
    }
}

/// Joins the learner at `url` and takes part until `shutdown`, with a lease `sampled` when that is said.
async fn at_work(
    config: ActorConfig,
    url: String,
    sampled: CancellationToken,
    shutdown: CancellationToken,
) -> Result<ActorSummary, ActorError> {
    let (background, name) = (Background::shared(), ActorId::new("late").unwrap());
    let peer = LearnerClient::at(&url, Arc::new(Tcp), &name, &config);
    let end = EndWatch::new(None, &peer);
    let (learner, _) = LearnerClient::join(peer, name, config.deciding(), 0, &config, &background).await?;
    let joined = Joined {
        config: &config,
        learner: Arc::new(learner),
        shelf: Arc::new(Shelf::new()),
        background,
        end,
        begun: ready(()),
        shutdown: &shutdown,
    };
    let (summary, _) = joined.pausing(|| sampled.clone().cancelled_owned()).await?;
    Ok(summary)
}

const FIRST: &[u8] = b"x";
const NEXT: &[u8] = b"y";

fn last() -> pb::PolicyManifest {
    pb::PolicyManifest {
        last: true,
        ..manifest(2, 4, NEXT)
    }
}

#[tokio::test]
async fn an_actor_at_work_when_its_run_ends_has_completed_it_though_the_learner_is_gone() {
    let mut actor = AtWork::begin(last()).await;
    actor.sampled.cancel();
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(summary.complete);
    assert_eq!(summary.version.unwrap().number, 4);
    assert_eq!((summary.leased, summary.dropped, summary.pairs), (1, 1, 0));
    assert_eq!(actor.returned(), [(vec![], true)]);
}

#[tokio::test]
async fn a_learner_that_goes_before_the_last_version_is_announced_is_missed() {
    let mut actor = AtWork::begin(manifest(2, 4, NEXT)).await;
    actor.sampled.cancel();
    let error = (&mut actor.ended).await.unwrap().unwrap_err();
    assert!(matches!(error, ActorError::Unreachable { .. }), "{error}");
    assert_eq!(actor.returned(), [(vec![5], true)]);
}

#[tokio::test]
async fn tasks_that_take_much_longer_than_the_run_are_dropped() {
    let mut actor = AtWork::begin(last()).await;
    // What is waited for from here on is over at once, but in its order.
    tokio::time::pause();
    let begun = Instant::now();
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(summary.complete && summary.dropped == 1);
    assert!(begun.elapsed() < 2 * LAST_TASKS);
}

#[tokio::test]
async fn an_actor_that_is_drained_says_that_it_leaves_with_what_it_hands_back() {
    let mut actor = AtWork::begin(manifest(2, 4, NEXT)).await;
    actor.shutdown.cancel();
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(!summary.complete && summary.handed_back == 1);
    assert_eq!(actor.returned(), [(vec![5], true)]);
}

#[tokio::test]
async fn a_drained_actor_that_has_heard_of_the_last_version_has_completed_the_run() {
    let mut actor = AtWork::begin(last()).await;
    actor.shutdown.cancel();
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(summary.complete);
    assert_eq!((summary.dropped, summary.handed_back), (1, 0));
    assert_eq!(actor.returned(), [(vec![], true)]);
}

fn quarantined() -> Status {
    let quarantined = WireError::Quarantined {
        actor: ActorId::new("late").unwrap(),
        reason: "its weights do something else".into(),
    };
    quarantined.into()
}

#[tokio::test]
async fn a_learner_that_refuses_an_actor_is_not_away_though_the_run_is_over() {
    let mut actor = AtWork::begin_bearing(0.5, last(), Some(quarantined())).await;
    actor.sampled.cancel();
    let error = (&mut actor.ended).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("quarantine"), "{error}");
}

#[tokio::test]
async fn a_learner_that_is_gone_is_not_called_for_long_once_the_run_is_over_and_the_last_version_is_adopted()
{
    let mut actor = AtWork::begin_bearing(3600.0, last(), None).await;
    let begun = Instant::now();
    actor.sampled.cancel();
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(summary.complete && summary.dropped == 1);
    assert_eq!(summary.version.unwrap().number, 4);
    assert!(begun.elapsed() < LAST_TASKS, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_actor_that_is_refused_for_weights_that_do_not_take_effect_says_which_those_are() {
    let script = Script {
        announced: vec![manifest(2, 4, b"x")],
        refusal: Some(quarantined()),
        ..Script::default()
    };
    let mut rollouts = rollouts_of(script, manifest(2, 3, b"x"), Lost, Lost).await;
    let ended = async {
        while rollouts.weights.mismatch().is_none() {
            sleep(Duration::from_millis(5)).await;
        }
        rollouts.run().await
    };
    let error = timeout(Duration::from_secs(20), ended)
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, ActorError::Canary { version, .. } if version.number == 4),
        "{error}"
    );
}

/// A service that will not do any more.
struct Lost;

impl Service for Lost {
    async fn recovered(&mut self) -> Result<(), ActorError> {
        Err(ActorError::GroupTooLarge {
            bytes: 2,
            most: 1,
            group_size: 2,
        })
    }
}

impl Render for Lost {
    async fn render(
        &mut self,
        _: &Lease,
        _: &PerTask<Arc<CutOut>>,
        _: &PerTask<Vec<Trajectory>>,
    ) -> PerTask<RenderedGroup> {
        pending().await
    }
}

impl Score for Lost {
    async fn score(&mut self, _: &Lease, _: &PerTask<RenderedGroup>) -> PerTask<Option<GroupRewards>> {
        pending().await
    }
}

#[tokio::test]
async fn a_service_that_is_lost_ends_a_run_that_goes_on_and_never_one_that_is_over() {
    let mut goes_on = rollouts(manifest(2, 3, b"x"), Lost, Lost).await;
    assert!(goes_on.wait_for_services().await.is_err());
    let over = pb::PolicyManifest {
        last: true,
        ..manifest(2, 3, b"x")
    };
    let mut over = rollouts(over, Lost, Lost).await;
    for _chance in 0..32 {
        over.wait_for_services().await.unwrap();
    }
}

//! What becomes of an actor that is at work when its run ends, or that leaves before.

use super::LAST_TASKS;
use crate::scripted_learner::{Script, manifest, serve};
use crate::simulated::{Served, SimulatedActorInputs, SimulatedSampling, run_simulated};
use crate::{ActorConfig, ActorError, ActorSummary};
use common::{ActorId, Digest};
use proto::{AllowLoopback, Tcp, pb};
use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

/// An actor at work on one lease.
struct AtWork {
    script: Arc<Mutex<Script>>,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<ActorSummary, ActorError>>,
}

impl AtWork {
    /// Sampling takes so long, and the learner announces `next` meanwhile.
    async fn begin(sampling: Duration, next: pb::PolicyManifest) -> Self {
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
            ..Script::default()
        };
        for adapter in [FIRST, NEXT] {
            script.artifacts.insert(store::digest(adapter), adapter.to_vec());
        }
        let (url, script) = serve(manifest(2, 3, FIRST), script).await;
        let config = ActorConfig {
            learner_timeout_s: 0.5,
            drain_timeout_s: 0.1,
            ..ActorConfig::default()
        };
        let (begin, shutdown) = (CancellationToken::new(), CancellationToken::new());
        begin.cancel();
        let inputs = SimulatedActorInputs {
            actor_id: ActorId::new("late").unwrap(),
            learner_url: url,
            network: Arc::new(Tcp),
            begin,
            delay: Duration::ZERO,
            timed: Arc::new(AtomicBool::new(false)),
            sampling: SimulatedSampling::Pause(sampling),
            authorizer: Arc::new(AllowLoopback),
        };
        let stop = shutdown.clone();
        let ended = tokio::spawn(async move {
            let nowhere = None::<Served<TcpListenerStream>>;
            let (summary, _) = run_simulated(config, inputs, nowhere, stop).await?;
            Ok(summary)
        });
        let this = Self {
            script,
            shutdown,
            ended,
        };
        this.until(|script| script.lease.is_none()).await;
        // Both adapters were asked for: it has heard of the next version.
        this.until(|script| script.offsets.len() == 2).await;
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

const FIRST: &[u8] = b"x";
const NEXT: &[u8] = b"y";

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

fn last() -> pb::PolicyManifest {
    pb::PolicyManifest {
        last: true,
        ..manifest(2, 4, NEXT)
    }
}

#[tokio::test]
async fn an_actor_at_work_when_its_run_ends_has_completed_it_though_the_learner_is_gone() {
    let mut actor = AtWork::begin(Duration::from_millis(300), last()).await;
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(summary.complete);
    assert_eq!((summary.leased, summary.dropped, summary.pairs), (1, 1, 0));
    assert_eq!(actor.returned(), [(vec![], true)]);
}

#[tokio::test]
async fn a_learner_that_goes_before_the_last_version_is_announced_is_missed() {
    let mut actor = AtWork::begin(Duration::from_millis(300), manifest(2, 4, NEXT)).await;
    let error = (&mut actor.ended).await.unwrap().unwrap_err();
    assert!(matches!(error, ActorError::Unreachable { .. }), "{error}");
    assert_eq!(actor.returned(), [(vec![5], true)]);
}

#[tokio::test]
async fn tasks_that_take_much_longer_than_the_run_are_dropped() {
    let mut actor = AtWork::begin(FOR_EVER, last()).await;
    // What is waited for from here on is over at once, but in its order.
    tokio::time::pause();
    let begun = Instant::now();
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(summary.complete && summary.dropped == 1);
    assert!(begun.elapsed() < 2 * LAST_TASKS);
}

#[tokio::test]
async fn an_actor_that_is_drained_says_that_it_leaves_with_what_it_hands_back() {
    let mut actor = AtWork::begin(FOR_EVER, manifest(2, 4, NEXT)).await;
    actor.shutdown.cancel();
    let summary = (&mut actor.ended).await.unwrap().unwrap();
    assert!(!summary.complete && summary.handed_back == 1);
    assert_eq!(actor.returned(), [(vec![5], true)]);
}

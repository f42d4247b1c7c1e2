//! A learner whose store is slow with a checkpoint: it goes on training and announcing, and dies at whatever moment. One whose store is
//! slow with its run's end: nobody hears of that.

mod held;
mod left;

use super::ended::standing;
use super::*;
use crate::simulated::{SimulatedAdapters, SimulatedInputs, run_simulated};
use held::{CHECKPOINTS, END, HeldStore, Moment};
use left::Left;
use object_store::memory::InMemory;
use std::sync::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Barrier, watch};
use tonic::transport::server::TcpIncoming;

/// As many pairs are in flight at the same time.
const IN_FLIGHT: usize = 16;

const MAX_STALENESS: u64 = 8;

/// At which versions there are checkpoints.
const EVERY: u64 = 3;

/// The newest version that can be announced while the first checkpoint is being written: the second one waits behind it, and the
/// version of the third is kept back, so that a crash costs no more than these.
const NEWEST_MEANWHILE: u64 = 3 * EVERY - 1;

fn simulated() -> LearnerConfig {
    LearnerConfig {
        versions: 12,
        max_staleness: MAX_STALENESS,
        checkpoint_every: EVERY,
        keep_checkpoints: 100,
        ledger_flush_ms: 2,
        linger_ms: 300,
        drain_ms: 300,
        ..config()
    }
}

fn run_id() -> RunId {
    RunId::new("slow").unwrap()
}

/// A learner in a runtime of its own, so that nothing of it outlives it.
struct Learner {
    runtime: Option<Runtime>,
    store: Arc<HeldStore>,
    url: String,
    ended: JoinHandle<Result<RunSummary, LearnerError>>,
}

impl Learner {
    async fn start(objects: &Arc<InMemory>, hold: Option<Moment>) -> Self {
        let store = HeldStore::new(objects.clone(), hold);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inputs = SimulatedInputs {
            run_id: run_id(),
            run_seed: 7,
            settings: common::DecidingSettings::default(),
            catalogue: Arc::new(catalogue(&[None; 5])),
            store: store.as_store(),
            authorizer: Arc::new(AllowLoopback),
            adapters: SimulatedAdapters::Drawn(64),
            step: Duration::from_millis(2),
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let incoming = TcpIncoming::from(listener);
        let ended = runtime.spawn(run_simulated(
            simulated(),
            inputs,
            incoming,
            CancellationToken::new(),
        ));
        Self {
            runtime: Some(runtime),
            store,
            url,
            ended,
        }
    }

    fn die(self) {
        self.store.cut_off();
    }

    async fn ends(mut self) -> RunSummary {
        let ended = tokio::time::timeout(Duration::from_secs(60), &mut self.ended).await;
        ended.expect("the run does not end").unwrap().unwrap()
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a learner has told.
struct Told {
    newest: watch::Receiver<pb::PolicyManifest>,
    /// Who was told of which task that its outcome is recorded.
    acknowledged: Arc<Mutex<BTreeMap<u64, ActorId>>>,
    /// Those who work, and who follows; each ends with the learner or the run.
    at_work: Vec<JoinHandle<()>>,
}

impl Told {
    /// Follows a learner's announcements, which come in order, with actors at work of whom so many hold a task each before the first
    /// of them submits.
    async fn by(learner: &Learner, together: usize) -> Self {
        let observer = TestActor::join(&learner.url, "observer").await;
        let (sender, newest) = watch::channel(observer.manifest.clone());
        let follower = tokio::spawn(follow(observer, sender));
        let (acknowledged, together) = (Arc::default(), Arc::new(Barrier::new(together)));
        let mut joined = vec![];
        for number in 0..IN_FLIGHT {
            joined.push(TestActor::join(&learner.url, &format!("actor-{number}")).await);
        }
        // Not before all are there: few could end the run.
        let begin = |actor| {
            let told = Arc::clone(&acknowledged);
            tokio::spawn(work(actor, newest.clone(), told, together.clone()))
        };
        let mut at_work: Vec<_> = joined.into_iter().map(begin).collect();
        at_work.push(follower);
        Self {
            newest,
            acknowledged,
            at_work,
        }
    }

    async fn announced(&self, number: u64) {
        let mut newest = self.newest.clone();
        let reached = |manifest: &pb::PolicyManifest| manifest.version.unwrap().number >= number;
        let waited = tokio::time::timeout(Duration::from_secs(30), newest.wait_for(reached)).await;
        waited
            .unwrap_or_else(|_| panic!("version {number} is not announced"))
            .unwrap();
    }

    fn newest(&self) -> u64 {
        self.newest.borrow().version.unwrap().number
    }

    /// What was acknowledged, once all have ended.
    async fn acknowledged(self) -> BTreeMap<u64, ActorId> {
        for one in self.at_work {
            let ended = tokio::time::timeout(Duration::from_secs(30), one).await;
            ended.expect("somebody goes on without a learner").unwrap();
        }
        self.acknowledged.lock().unwrap().clone()
    }
}

/// Passes announcements on until there are no more.
async fn follow(mut observer: TestActor, newest: watch::Sender<pb::PolicyManifest>) {
    let watch = pb::WatchPolicyRequest {
        header: observer.header(),
        after: observer.manifest.version,
        relay_port: 0,
        evaluates: false,
        settings: BTreeMap::new(),
    };
    let mut news = observer.client.watch_policy(watch).await.unwrap().into_inner();
    while let Ok(Some(manifest)) = news.message().await {
        let (before, now) = (newest.borrow().version.unwrap(), manifest.version.unwrap());
        assert!(
            now.epoch == before.epoch && now.number > before.number,
            "{now:?} after {before:?}"
        );
        let last = manifest.last;
        newest.send_replace(manifest);
        if last {
            return;
        }
    }
}

/// Works on a task at a time, with the newest version, until that is the last one or the learner is gone.
async fn work(
    mut actor: TestActor,
    newest: watch::Receiver<pb::PolicyManifest>,
    acknowledged: Arc<Mutex<BTreeMap<u64, ActorId>>>,
    together: Arc<Barrier>,
) {
    let mut is_first = true;
    while !actor.manifest.last {
        actor.manifest = newest.borrow().clone();
        let request = pb::LeaseTasksRequest {
            header: actor.header(),
            policy: actor.manifest.version,
            max_tasks: 1,
        };
        let Ok(answer) = actor.client.lease_tasks(request).await else {
            return;
        };
        let task = match answer.into_inner().answer.unwrap() {
            Answer::Lease(lease) => lease.tasks[0].task,
            Answer::Wait(_) | Answer::Complete(_) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
        };
        if std::mem::take(&mut is_first) {
            together.wait().await;
        }
        let request = pb::SubmitOutcomesRequest {
            header: actor.header(),
            outcomes: vec![(&made_up(task, actor.version())).into()],
            ..Default::default()
        };
        let Ok(answer) = actor.client.submit_outcomes(request).await else {
            return;
        };
        for receipt in answer.into_inner().receipts {
            assert_eq!(receipt.disposition(), pb::Disposition::Recorded, "{receipt:?}");
            acknowledged
                .lock()
                .unwrap()
                .insert(receipt.task, actor.name.clone());
        }
    }
}

/// What a learner of a later start answers to those of an earlier one, and to an outcome that it has.
async fn assert_refusals(learner: &Learner, known: u64) {
    let mut late = TestActor::join(&learner.url, "late").await;
    let (run, own) = (run_id(), late.version());
    assert_eq!(own.epoch, LearnerEpoch(2));
    let again = pb::SubmitOutcomesRequest {
        header: late.header(),
        outcomes: vec![(&made_up(known, own)).into()],
        ..Default::default()
    };
    let receipts = late.client.submit_outcomes(again.clone()).await.unwrap();
    let receipt = &receipts.into_inner().receipts[0];
    assert_eq!(receipt.disposition(), pb::Disposition::AlreadyRecorded);
    let earlier = Some(header(Some(&run), Some(LearnerEpoch(1)), "late"));
    let lease = pb::LeaseTasksRequest {
        header: earlier.clone(),
        policy: late.manifest.version,
        max_tasks: 1,
    };
    let refused = late.client.lease_tasks(lease).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused}");
    let outcome = pb::SubmitOutcomesRequest {
        header: earlier,
        ..again
    };
    let refused = late.client.submit_outcomes(outcome).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn training_goes_on_while_a_checkpoint_is_written_and_waits_before_a_third_one() {
    let objects = Arc::new(InMemory::new());
    let manifest = Moment {
        place: CHECKPOINTS,
        write: 2,
        took_effect: false,
    };
    let learner = Learner::start(&objects, Some(manifest)).await;
    let told = Told::by(&learner, IN_FLIGHT).await;
    learner.store.holds().await;
    told.announced(EVERY + 1).await;
    told.announced(NEWEST_MEANWHILE).await;
    // Much longer than a version takes.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(told.newest(), NEWEST_MEANWHILE);
    assert!(Left::of(&objects).await.checkpoints.is_empty());

    learner.store.release();
    let summary = learner.ends().await;
    assert!(summary.complete);
    let left = Left::of(&objects).await;
    assert_eq!(left.checkpointed(), [12, 9, 6, 3]);
    left.assert_sound();
    left.assert_has(&told.acknowledged().await);
    assert_eq!((summary.publishes, summary.pairs_trained), (13, 48));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_i3_whatever_a_slow_checkpoint_has_come_to_a_learner_that_dies_loses_nothing_it_acknowledged() {
    for write in 0..3 {
        for took_effect in [false, true] {
            // Just after the version that follows the checkpoint's, or when training waits.
            let dies_at = match took_effect {
                true => NEWEST_MEANWHILE,
                false => EVERY + 1,
            };
            let goes_on = match (write, took_effect) {
                (2, true) => EVERY,
                _ => 0,
            };
            let moment = Moment {
                place: CHECKPOINTS,
                write,
                took_effect,
            };
            dies_and_goes_on(moment, dies_at, goes_on).await;
        }
    }
}

/// The first learner dies when `dies_at` is announced and this write is held; the next one goes on from version `goes_on`.
async fn dies_and_goes_on(moment: Moment, dies_at: u64, goes_on: u64) {
    let objects = Arc::new(InMemory::new());
    let first = Learner::start(&objects, Some(moment)).await;
    let told = Told::by(&first, IN_FLIGHT).await;
    first.store.holds().await;
    told.announced(dies_at).await;
    first.die();
    let acknowledged = told.acknowledged().await;
    assert!(!acknowledged.is_empty(), "{moment:?}");

    // With a slow checkpoint too, it does not end before all this is asked of it.
    let adapter = Moment {
        place: CHECKPOINTS,
        write: 0,
        took_effect: false,
    };
    let second = Learner::start(&objects, Some(adapter)).await;
    let known = *acknowledged.keys().next().unwrap();
    assert_refusals(&second, known).await;
    let told = Told::by(&second, 1).await;
    second.store.holds().await;
    second.store.release();
    let summary = second.ends().await;
    assert!(summary.complete, "{moment:?}: {summary:?}");
    // The one that it goes on from is announced too.
    let announced = simulated().versions - goes_on + 1;
    assert_eq!(
        (summary.publishes, summary.pairs_trained),
        (announced, 48),
        "{moment:?}"
    );
    let left = Left::of(&objects).await;
    assert_eq!(left.checkpoints[0].version, summary.version, "{moment:?}");
    left.assert_sound();
    left.assert_has(&acknowledged);
    left.assert_has(&told.acknowledged().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_nobody_hears_of_a_runs_end_before_it_is_recorded_and_a_later_start_records_it_too() {
    for took_effect in [false, true] {
        let objects = Arc::new(InMemory::new());
        let recorded = async || standing(&HeldStore::new(objects.clone(), None).as_store(), &run_id()).await;
        let end = Moment {
            place: END,
            write: 1,
            took_effect,
        };
        let first = Learner::start(&objects, Some(end)).await;
        let told = Told::by(&first, IN_FLIGHT).await;
        first.store.holds().await;
        told.announced(simulated().versions - 1).await;
        // Much longer than a version takes.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut late = TestActor::join(&first.url, "late").await;
        assert_eq!(
            (told.newest(), late.manifest.last),
            (simulated().versions - 1, false)
        );
        assert!(!matches!(late.lease().await, Answer::Complete(_)));
        assert_eq!(recorded().await.is_some(), took_effect);
        first.die();
        told.acknowledged().await;

        let summary = Learner::start(&objects, None).await.ends().await;
        assert!(summary.complete);
        let end = recorded().await.expect("it is recorded again");
        assert_eq!(
            (end.version, end.adapter),
            (summary.version, summary.adapter_digest)
        );
        assert_eq!(summary.version.epoch, LearnerEpoch(2));
    }
}

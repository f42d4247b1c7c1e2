//! Runs that are stopped or superseded and go on.

use super::refused::{nothing_can_be_written, refusal};
use super::*;
use crate::ledger::LedgerView;

/// Deterministic, four versions, so that there is something to go on with: tasks 0 to 3 make the first, 4 to 7 the second.
pub(super) fn long() -> LearnerConfig {
    LearnerConfig {
        versions: 4,
        deterministic: true,
        linger_ms: 500,
        ..config()
    }
}

pub(super) struct Place {
    pub(super) directory: Arc<tempfile::TempDir>,
    store: Store,
}

impl Place {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        policy().save(&directory.path().join("policy")).unwrap();
        let store = Store::open(&format!("file://{}", directory.path().join("store").display())).unwrap();
        Self {
            directory: Arc::new(directory),
            store,
        }
    }

    pub(super) async fn start(&self, config: LearnerConfig) -> Running {
        start_with(config, self.inputs(), self.directory.clone()).await
    }

    pub(super) fn inputs(&self) -> LearnerInputs {
        LearnerInputs {
            store: self.store.clone(),
            ..inputs(self.directory.path())
        }
    }

    /// Pairs that its ledger tells as refused, by reason.
    async fn refused(&self) -> BTreeMap<String, u64> {
        let view = LedgerView::open(&self.store, &RunId::new("test").unwrap())
            .await
            .unwrap();
        let summary = view.summary().await.unwrap().pairs_refused.into_iter();
        summary
            .map(|(reason, pairs)| (reason.to_owned(), pairs))
            .collect()
    }

    fn steps(&self) -> Vec<u64> {
        let lines = std::fs::read_to_string(self.directory.path().join("steps.jsonl")).unwrap();
        let step = |line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["step"]
                .as_u64()
                .unwrap()
        };
        lines.lines().map(step).collect()
    }
}

/// Follows a run until it has published version `number`.
pub(super) async fn published(url: &str, number: u64) {
    let mut observer = LearnerServiceClient::connect(url.to_owned()).await.unwrap();
    let watch = pb::WatchPolicyRequest {
        header: Some(header(None, None, "observer")),
        after: None,
        relay_port: 0,
        evaluates: false,
        settings: BTreeMap::new(),
    };
    let mut news = observer.watch_policy(watch).await.unwrap().into_inner();
    while news.message().await.unwrap().unwrap().version.unwrap().number < number {}
}

/// Tells the learner what an evaluator found of a version.
pub(super) async fn evaluated(url: &str, version: PolicyVersion, reward: f64) {
    let mut observer = LearnerServiceClient::connect(url.to_owned()).await.unwrap();
    let evaluation = pb::ReportEvaluationRequest {
        header: Some(header(None, None, "observer")),
        version: Some(version.into()),
        values: [("reward".to_owned(), reward)].into(),
    };
    observer.report_evaluation(evaluation).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_evaluators_find_is_in_tensorboard_at_the_steps_of_their_versions_and_once_over_all_starts() {
    let config = LearnerConfig {
        versions: 200,
        ..long()
    };
    let place = Place::new();
    let board = place.directory.path().join("board");
    let start = async || {
        let inputs = LearnerInputs {
            tensorboard_dir: Some(board.clone()),
            ..place.inputs()
        };
        start_with(config.clone(), inputs, place.directory.clone()).await
    };
    let first = start().await;
    let url = first.url.clone();
    let actor = tokio::spawn(async move { TestActor::join(&url, "a").await.work(made_up).await });
    published(&first.url, 2).await;
    // Late: a newer version is there.
    for (number, reward) in [(0, 0.5), (1, 0.25)] {
        evaluated(&first.url, crate::test_outcomes::version(number), reward).await;
    }
    first.shutdown.cancel();
    first.ended.await.unwrap().unwrap();
    actor.abort();
    let mut expected = vec![(0, 0.5), (2, 0.25)];
    // Each start measures the version that it finds, as an evaluator of its own does.
    for reward in [0.75, 1.0] {
        let later = start().await;
        let found = TestActor::join(&later.url, "b").await.version();
        evaluated(&later.url, found, reward).await;
        let step = 2 * found.number as i64;
        if expected.iter().all(|(known, _)| *known < step) {
            expected.push((step, reward as f32));
        }
        later.shutdown.cancel();
        later.ended.await.unwrap().unwrap();
    }
    let found = crate::tensorboard::tests::scalars_in(&board).into_iter();
    // Nothing is held out of this run's catalogue.
    let found = found.filter(|(_, tag, _)| tag == "on_its_products/reward");
    let found: Vec<(i64, f32)> = found.map(|(step, _, value)| (step, value)).collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_run_stopped_in_between_ends_with_the_weights_of_one_that_was_not() {
    let whole = Place::new().start(long()).await;
    TestActor::join(&whole.url, "a").await.work(made_up).await;
    let whole = whole.ended.await.unwrap().unwrap();
    let place = Place::new();
    let first = place.start(long()).await;
    let url = first.url.clone();
    // At most half of the fourth version's block is recorded.
    let actor = async move { TestActor::join(&url, "a").await.work_before(14, made_up).await };
    let actor = tokio::spawn(actor);
    published(&first.url, 2).await;
    first.shutdown.cancel();
    let stopped = first.ended.await.unwrap().unwrap();
    actor.abort();
    assert!(!stopped.complete && stopped.version.number >= 2);
    let second = place.start(long()).await;
    let joined = TestActor::join(&second.url, "b").await;
    assert_eq!(joined.version().epoch, LearnerEpoch(2));
    assert_eq!(joined.version().number, stopped.version.number);
    joined.work(made_up).await;
    let resumed = second.ended.await.unwrap().unwrap();
    assert_eq!(resumed.adapter_digest, whole.adapter_digest);
    let account = |summary: &RunSummary| {
        (
            summary.pairs_trained,
            summary.pairs_refused,
            summary.outcomes.pairs,
        )
    };
    assert_eq!(account(&resumed), account(&whole));
    assert_eq!(place.steps(), (1..=8).collect::<Vec<_>>());
    // A complete run is complete again, without anybody's help.
    let third = place.start(long()).await;
    let again = third.ended.await.unwrap().unwrap();
    assert_eq!(
        (again.complete, again.adapter_digest),
        (true, whole.adapter_digest)
    );
    assert_eq!(again.version.epoch, LearnerEpoch(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_few_checkpoints_goes_on_from_the_newest_and_trains_the_rest_again() {
    let config = LearnerConfig {
        deterministic: false,
        versions: 12,
        checkpoint_every: 5,
        ..long()
    };
    let place = Place::new();
    let first = place.start(config.clone()).await;
    let url = first.url.clone();
    let actor = tokio::spawn(async move { TestActor::join(&url, "a").await.work(made_up).await });
    published(&first.url, 6).await;
    first.shutdown.cancel();
    let stopped = first.ended.await.unwrap().unwrap();
    actor.abort();
    let second = place.start(config).await;
    let joined = TestActor::join(&second.url, "b").await;
    // Whatever was left over waits, and is not refused.
    assert_eq!(stopped.pairs_refused_by_reason["run_ended"], 0);
    let (reached, goes_on) = (stopped.version.number, joined.version().number);
    assert_eq!(goes_on, reached / 5 * 5);
    joined.work(made_up).await;
    let resumed = second.ended.await.unwrap().unwrap();
    assert_eq!((resumed.complete, resumed.pairs_trained), (true, 48));
    let mut counted = resumed.pairs_refused_by_reason.clone();
    counted.retain(|_, pairs| *pairs > 0);
    assert_eq!(
        place.refused().await,
        counted,
        "I3: each has its reason in the ledger"
    );
    let lost = resumed.pairs_refused_by_reason["retired"];
    assert!(
        lost <= (reached - goes_on) * 4,
        "{lost} of version {goes_on} to {reached}"
    );
    assert_eq!(place.steps(), (1..=24).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_learner_that_is_superseded_acknowledges_nothing_and_ends() {
    let place = Place::new();
    let config = LearnerConfig {
        deterministic: false,
        ..long()
    };
    let first = place.start(config.clone()).await;
    let mut actor = TestActor::join(&first.url, "a").await;
    let Answer::Lease(lease) = actor.lease().await else {
        panic!("no lease")
    };
    let outcomes: Vec<_> = lease
        .tasks
        .iter()
        .map(|task| made_up(task.task, actor.version()))
        .collect();
    let second = place.start(config).await;
    TestActor::join(&second.url, "b").await;
    let request = pb::SubmitOutcomesRequest {
        header: actor.header(),
        outcomes: outcomes.iter().map(Into::into).collect(),
        ..Default::default()
    };
    let refusal = actor.client.submit_outcomes(request).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::Unavailable);
    let failure = first.ended.await.unwrap().unwrap_err();
    assert!(
        matches!(failure, LearnerError::Store(store::StoreError::Fenced { .. })),
        "{failure}"
    );
    second.shutdown.cancel();
    second.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_refused_does_not_disturb_the_learner_that_runs() {
    let place = Place::new();
    let first = place.start(long()).await;
    TestActor::join(&first.url, "a").await;
    let mut other = long();
    other.passes += 1;
    let inputs = LearnerInputs {
        run_seed: 8,
        store: place.store.clone(),
        ..inputs(place.directory.path())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusal = run(long(), inputs, listener, CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(refusal, LearnerError::AnotherRun { .. }), "{refusal}");
    let url = first.url.clone();
    let actor = tokio::spawn(async move { TestActor::join(&url, "a").await.work(made_up).await });
    published(&first.url, 1).await;
    let second = place.start(other).await;
    let refusal = second.ended.await.unwrap().unwrap_err();
    assert!(
        matches!(refusal, LearnerError::ChangedSettings { .. }),
        "{refusal}"
    );
    nothing_can_be_written(place.inputs()).await;
    actor.await.unwrap();
    assert!(first.ended.await.unwrap().unwrap().complete);
}

/// A run in which another prompt makes the policy another base.
fn on_another_base(inputs: LearnerInputs) -> LearnerInputs {
    let template = models::template::PromptTemplate::parse("Q: <image> {instruction} A:").unwrap();
    LearnerInputs {
        policy_reading: PolicyReading {
            template: Some(template),
            ..PolicyReading::default()
        },
        ..inputs
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_its_first_checkpoint_too_a_run_goes_on_with_what_it_was_begun_with_or_not_at_all() {
    let config = LearnerConfig {
        deterministic: false,
        versions: 200,
        checkpoint_every: 200,
        ..long()
    };
    let place = Place::new();
    let first = place.start(config.clone()).await;
    let url = first.url.clone();
    let actor = tokio::spawn(async move { TestActor::join(&url, "a").await.work(made_up).await });
    published(&first.url, 1).await;
    first.shutdown.cancel();
    first.ended.await.unwrap().unwrap();
    actor.abort();
    let checkpoints = Checkpoints::of(&place.store, &place.inputs().run_id);
    assert!(checkpoints.order().await.unwrap().versions.is_empty());

    let catalogue = LearnerInputs {
        catalogue: Arc::new(catalogue(&[None; 7])),
        ..place.inputs()
    };
    let message = refusal(config.clone(), catalogue).await;
    assert!(
        message.contains("products = 7: the run was begun with 5") && message.contains("run.id"),
        "{message}"
    );
    let mut other = config.clone();
    (other.loss.beta, other.lora.rank, other.lease_ttl_ms) = (3.0, 8, 1234);
    let message = refusal(other, place.inputs()).await;
    assert!(
        message.contains("learner.loss.beta = 3.0: the run was begun with")
            && message.contains("learner.lora.rank = 8: the run was begun with 2")
            && !message.contains("= 1234")
            && message.contains("only these may change: activation_checkpointing"),
        "{message}"
    );
    let message = refusal(config.clone(), on_another_base(place.inputs())).await;
    assert!(message.contains("base policy"), "{message}");

    // Neither a refused start nor one with what may change is what later ones are compared with.
    let free = LearnerConfig {
        lease_ttl_ms: 1234,
        max_staleness: 3,
        ..config.clone()
    };
    for (epoch, config) in [(2, free), (3, config)] {
        let later = place.start(config).await;
        let joined = TestActor::join(&later.url, "b").await;
        assert_eq!(joined.version().epoch, LearnerEpoch(epoch));
        later.shutdown.cancel();
        later.ended.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_catalogue_other_settings_another_base_or_another_seed_do_not_take_a_run_over() {
    let place = Place::new();
    let first = place.start(long()).await;
    TestActor::join(&first.url, "a").await.work(made_up).await;
    first.ended.await.unwrap().unwrap();
    let inputs = || place.inputs();
    let catalogue = LearnerInputs {
        catalogue: Arc::new(crate::assortment::test_catalogue::with_captions(&["lamp"; 5])),
        ..inputs()
    };
    let message = refusal(long(), catalogue).await;
    assert!(
        message.contains("catalogue, captions: ")
            && !message.contains("products")
            && !message.contains("ids"),
        "{message}"
    );
    let mut other = long();
    other.loss.beta = 0.25;
    other.lease_ttl_ms = 1234;
    let message = refusal(other, inputs()).await;
    assert!(
        message.contains("learner.loss.beta = 0.25")
            && !message.contains("= 1234")
            && message.contains("max_staleness"),
        "{message}"
    );
    let seed = LearnerInputs {
        run_seed: 8,
        adapter: Store::open("memory:///").unwrap(),
        ..inputs()
    };
    let message = refusal(long(), seed).await;
    assert!(
        message.contains("seed 7") && message.contains("seed 8"),
        "{message}"
    );
    let policy_dir = place.directory.path().join("policy");
    let message = refusal(long(), on_another_base(inputs())).await;
    assert!(message.contains(&policy_dir.display().to_string()), "{message}");
}

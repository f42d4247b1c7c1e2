//! Newer versions as they come, what is refused of them, and when a run is over.

use super::*;
use crate::learner_client::LearnerClient;
use crate::product_images::ProductImages;
use crate::scripted_learner::{Script, artifact, join, manifest};
use crate::{policy_builder::PolicyBuilder, shelf::Shelf};
use burn::tensor::Device;
use models::{
    ModelError,
    compute_thread::ComputeThread,
    llava::Llava,
    lora::LoraConfig,
    peft::adapter_bytes,
    policy::Policy,
    presets::Preset,
    tokenizer::{SpecialTokens, Tokenizer},
};
use proto::pb;
use std::{sync::Mutex, time::Duration};
use store::Store;
use tokio::time::{Instant, timeout};

fn policy() -> Policy {
    let corpus = ["an oak desk in warm light", "a steel lamp by the sea"];
    let tokenizer = Tokenizer::train(corpus.iter(), 280, SpecialTokens::default()).unwrap();
    Preset::Tiny.policy(tokenizer, &Device::flex(), 5)
}

fn base() -> Llava {
    policy().model
}

fn source(learner: Arc<LearnerClient>) -> WeightSource<PolicyBuilder> {
    let store = Store::open("memory:///").unwrap();
    let products = Arc::new(ProductImages::new(store, 1 << 20));
    let thread = ComputeThread::spawn("weights", 1, || Ok::<_, ActorError>(())).unwrap();
    let builder = PolicyBuilder::new(&policy(), products, thread);
    WeightSource::new(learner, Arc::new(Shelf::new()), builder)
}

/// The bytes of an adapter that differs by its seed.
fn adapter(seed: u64) -> Vec<u8> {
    let mut config = LoraConfig::new(2, 2.0);
    config.targets = vec!["q_proj".into()];
    adapter_bytes(&base().with_adapter(&config, seed).unwrap().adapter()).unwrap()
}

/// Follows a learner that does as `script` says and begins with `first`.
async fn follow_script(mut script: Script, first: &[u8]) -> (WeightSync<Llava>, Arc<Mutex<Script>>) {
    script.artifacts.insert(store::digest(first), first.to_vec());
    let (learner, _, script) = join(manifest(2, 3, first), script).await;
    let mut source = source(learner);
    let start = source.newest().await.unwrap();
    (WeightSync::start(source, &start, &Background::shared()), script)
}

/// Announces versions given as (epoch, number, served bytes, bytes promised).
async fn sync(announced: &[(u64, u64, &[u8], &[u8])]) -> (WeightSync<Llava>, PolicyVersion) {
    let first = adapter(0);
    let mut script = Script::default();
    script.artifacts.insert(store::digest(&first), first.clone());
    for (epoch, number, served, promised) in announced {
        script.artifacts.insert(store::digest(promised), served.to_vec());
        script.announced.push(manifest(*epoch, *number, promised));
    }
    let (learner, first, _) = join(manifest(2, 3, &first), script).await;
    let mut source = source(learner);
    let start = source.build(first).await.unwrap();
    (
        WeightSync::start(source, &start, &Background::shared()),
        start.version,
    )
}

async fn newest_within(
    sync: &mut WeightSync<Llava>,
    wait: Duration,
) -> Result<Option<Arc<Adapted<Llava>>>, ActorError> {
    let _elapsed = timeout(wait, sync.changed()).await;
    sync.newest().await
}

#[tokio::test]
async fn a_newer_version_becomes_ready_with_its_own_adapter() {
    let newer = adapter(9);
    let (mut sync, start) = sync(&[(2, 4, &newer, &newer)]).await;
    let newest = newest_within(&mut sync, Duration::from_secs(20))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(newest.version, start.next());
    assert_eq!(adapter_bytes(&newest.weights.adapter()).unwrap(), newer);
    sync.stop().await;
}

#[tokio::test]
async fn i6_a_lower_epoch_and_an_older_version_are_refused() {
    let other = adapter(9);
    let (mut sync, _) = sync(&[(1, 99, &other, &other), (2, 3, &other, &other)]).await;
    assert!(
        newest_within(&mut sync, Duration::from_millis(300))
            .await
            .unwrap()
            .is_none()
    );
    sync.stop().await;
}

#[tokio::test]
async fn i5_weights_with_another_digest_end_the_actor_and_are_never_ready() {
    let (promised, served) = (adapter(9), adapter(10));
    let (mut sync, _) = sync(&[(2, 4, &served, &promised)]).await;
    let error = newest_within(&mut sync, Duration::from_secs(20))
        .await
        .err()
        .expect("a refusal");
    assert!(matches!(error, ActorError::ArtifactDigest { .. }), "{error}");
}

#[tokio::test]
async fn an_adapter_with_a_nan_is_refused() {
    let mut poisoned = adapter(9);
    let end = poisoned.len();
    poisoned[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let (mut sync, _) = sync(&[(2, 4, &poisoned, &poisoned)]).await;
    let error = newest_within(&mut sync, Duration::from_secs(20))
        .await
        .err()
        .expect("a refusal");
    assert!(
        matches!(error, ActorError::Model(ModelError::WeightNotFinite { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_closed_stream_that_is_opened_again_is_not_closed() {
    let newer = adapter(9);
    let mut script = Script {
        closes: 1,
        ..Script::default()
    };
    script.artifacts.insert(store::digest(&newer), newer.clone());
    let (mut sync, script) = follow_script(script, &adapter(0)).await;
    timeout(Duration::from_secs(20), sync.changed()).await.unwrap();
    assert!(sync.closed());
    script.lock().unwrap().announced.push(manifest(2, 4, &newer));
    while sync.closed() {
        timeout(Duration::from_secs(20), sync.changed()).await.unwrap();
    }
    while sync.newest().await.unwrap().is_none() {
        timeout(Duration::from_secs(20), sync.changed()).await.unwrap();
    }
    sync.stop().await;
}

fn last(epoch: u64, number: u64, adapter: &[u8]) -> pb::PolicyManifest {
    pb::PolicyManifest {
        last: true,
        ..manifest(epoch, number, adapter)
    }
}

#[tokio::test]
async fn a_run_is_over_for_whoever_starts_from_its_last_version() {
    let first = adapter(0);
    let mut script = Script::default();
    script.artifacts.insert(store::digest(&first), first.clone());
    let (learner, _, _) = join(last(2, 3, &first), script).await;
    let mut source = source(learner);
    let start = source.newest().await.unwrap();
    let mut sync = WeightSync::start(source, &start, &Background::shared());
    assert!(sync.run_is_over());
    timeout(Duration::from_secs(20), sync.until_run_is_over())
        .await
        .unwrap();
    sync.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_meanwhile_was_not_over_for_so_long() {
    let (sender, progress) = watch::channel(Progress::<()> {
        newest: None,
        closed: false,
        over: true,
    });
    let sync = WeightSync {
        progress,
        mismatch: Mismatch::default(),
        task: None,
    };
    let (begun, second) = (Instant::now(), Duration::from_secs(1));
    let over = tokio::spawn(sync.run_is_over_for(30 * second));
    for is_over in [false, true] {
        tokio::time::sleep(20 * second).await;
        sender.send_modify(|progress| progress.over = is_over);
    }
    over.await.unwrap();
    assert!(begun.elapsed() >= 70 * second, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_version_that_is_no_longer_kept_is_passed_over_for_the_newest() {
    let (old, newest) = (adapter(8), adapter(9));
    let mut script = Script {
        newest: Some(manifest(2, 9, &newest)),
        announced: vec![manifest(2, 4, &old)],
        ..Script::default()
    };
    script.artifacts.insert(store::digest(&newest), newest.clone());
    let (learner, _, script) = join(manifest(2, 3, &old), script).await;
    let mut source = source(learner);
    // At the start: what was joined at is gone.
    let start = source.newest().await.unwrap();
    assert_eq!(start.version.number, 9);
    script.lock().unwrap().newest = Some(manifest(2, 12, &newest));
    script.lock().unwrap().announced = vec![manifest(2, 10, &old)];
    let mut sync = WeightSync::start(source, &start, &Background::shared());
    let found = newest_within(&mut sync, Duration::from_secs(20)).await.unwrap();
    assert_eq!(found.unwrap().version.number, 12);
    sync.stop().await;
}

#[tokio::test]
async fn a_newest_version_that_is_not_there_is_asked_for_once_more_and_then_ends_the_actor() {
    let script = Script::default();
    let (learner, _, script) = join(manifest(2, 3, &adapter(8)), script).await;
    let error = source(learner).newest().await.err().unwrap();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(script.lock().unwrap().offsets.len(), 2);
}

#[tokio::test]
async fn i4_a_version_for_another_base_model_ends_the_actor() {
    let newer = adapter(9);
    let mut foreign = manifest(2, 4, &newer);
    foreign.base.push((&artifact(b"another base")).into());
    let script = Script {
        announced: vec![foreign],
        ..Script::default()
    };
    let (mut sync, _) = follow_script(script, &adapter(0)).await;
    let error = newest_within(&mut sync, Duration::from_secs(20))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ActorError::OtherBase { .. }), "{error}");
}

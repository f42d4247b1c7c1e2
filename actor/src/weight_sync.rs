//! Newer weights while the loop goes on: announcements are followed, adapters fetched, checked and built beside the policy
//! that is being sampled from. The loop takes the newest one between two batches.
//!
//! Nothing whose bytes are not those of the manifest is accepted (I5): that ends the actor. A version that the learner no
//! longer keeps is passed over for the newest. Which versions are announced, and by whom, is `announcements.rs`'s affair.

use crate::{
    ActorError,
    announcements::{Announcements, News},
    background::Background,
    weight_source::{Adapted, BuildWeights, WeightSource},
};
use common::PolicyVersion;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tracing::Instrument;

/// The background task that keeps up with the learner.
pub(crate) struct WeightSync<W> {
    progress: watch::Receiver<Progress<W>>,
    task: Option<JoinHandle<Result<(), ActorError>>>,
}

/// How far the background task has come.
struct Progress<W> {
    newest: Option<Arc<Adapted<W>>>,
    /// The learner has closed the stream of announcements and not opened another one: the run has ended, or the learner
    /// stops. A stream that broke is not closed.
    closed: bool,
    /// The last version has been announced, whether it is ready or not: the run is complete.
    over: bool,
}

impl<W: Send + Sync + 'static> WeightSync<W> {
    /// Follows the learner from `version` on, in the background.
    pub(crate) fn start(
        source: WeightSource<impl BuildWeights<Weights = W>>,
        version: PolicyVersion,
        background: &Background,
    ) -> Self {
        let (sender, progress) = watch::channel(Progress {
            newest: None,
            closed: false,
            over: false,
        });
        let span = tracing::info_span!("weights", trace_id = %source.learner.trace());
        let task = Some(background.spawn(follow(source, version, sender).instrument(span)));
        Self { progress, task }
    }

    /// The newest version that is ready, if one has become ready since the start.
    ///
    /// # Errors
    /// What ended the background task.
    pub(crate) async fn newest(&mut self) -> Result<Option<Arc<Adapted<W>>>, ActorError> {
        // The task drops its end of the channel when it ends.
        let ended = self.progress.has_changed().is_err();
        if let Some(task) = self.task.take_if(|_| ended) {
            task.await.map_err(|source| ActorError::Task {
                task: "weight sync",
                source,
            })??;
        }
        Ok(self.progress.borrow_and_update().newest.clone())
    }

    /// Returns when [`newest`](Self::newest) may have something to say.
    pub(crate) async fn changed(&mut self) {
        if self.progress.changed().await.is_err() && self.task.is_none() {
            pending().await
        }
    }

    /// Whether the learner has stopped announcing.
    pub(crate) fn closed(&self) -> bool {
        self.task.is_none() || self.progress.borrow().closed
    }

    /// Whether the learner has announced the last version.
    pub(crate) fn run_is_over(&self) -> bool {
        self.progress.borrow().over
    }

    /// Returns when that has been so for some time.
    pub(crate) fn run_is_over_for(&self, time: Duration) -> impl Future<Output = ()> + Send + use<W> {
        let mut progress = self.progress.clone();
        async move {
            let is_over = progress.wait_for(|progress| progress.over).await.is_ok();
            if !is_over {
                // What has ended the background task before is told by `newest`.
                pending().await
            }
            sleep(time).await;
        }
    }

    /// Ends the background task.
    pub(crate) async fn stop(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _aborted = task.await;
        }
    }
}

/// Follows announcements until the last version is ready.
async fn follow<B: BuildWeights>(
    mut source: WeightSource<B>,
    version: PolicyVersion,
    progress: watch::Sender<Progress<B::Weights>>,
) -> Result<(), ActorError> {
    let learner = source.learner.clone();
    let mut announcements = Announcements::to_a_relay(&learner, version);
    loop {
        let manifest = match announcements.next().await? {
            News::Opened => {
                progress.send_if_modified(|progress| std::mem::take(&mut progress.closed));
                continue;
            }
            News::Newer(manifest) => *manifest,
            News::Closed => {
                progress.send_modify(|progress| progress.closed = true);
                continue;
            }
        };
        if manifest.last {
            progress.send_modify(|progress| progress.over = true);
        }
        let adapted = match source.build(manifest).await {
            Err(error) if error.is_not_found() => source.newest().await?,
            built => built?,
        };
        announcements.is_known(adapted.version);
        let last = adapted.last;
        progress.send_replace(Progress {
            newest: Some(adapted),
            closed: false,
            over: last,
        });
        if last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner_client::LearnerClient;
    use crate::product_images::ProductImages;
    use crate::scripted_learner::{Script, artifact, join, manifest};
    use crate::{policy_builder::PolicyBuilder, room::Room, shelf::Shelf};
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
    use std::{sync::Mutex, time::Duration};
    use store::Store;
    use tokio::time::timeout;

    fn policy() -> Policy {
        let corpus = ["an oak desk in warm light", "a steel lamp by the sea"];
        let tokenizer = Tokenizer::train(corpus.iter(), 280, SpecialTokens::default()).unwrap();
        Preset::Tiny.policy(tokenizer, &Device::flex(), 5)
    }

    fn base() -> Llava {
        policy().model
    }

    fn source(learner: Arc<LearnerClient>) -> WeightSource<PolicyBuilder> {
        let (store, room) = (Store::open("memory:///").unwrap(), Room::new(1 << 20, 2, 1));
        let products = Arc::new(ProductImages::new(store, 1 << 20, room));
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
        let start = source.newest().await.unwrap().version;
        (WeightSync::start(source, start, &Background::shared()), script)
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
            WeightSync::start(source, start.version, &Background::shared()),
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
        let mut sync = WeightSync::start(source, start.version, &Background::shared());
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
}

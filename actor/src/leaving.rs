//! How an actor leaves its run: what it holds is handed back, whoever may wait for it is told, what was started is joined.

use crate::{
    ActorError, ActorSummary, OnRunEnd,
    learner_client::Received,
    rollout_loop::RolloutLoop,
    stages::{Behaviour, Gather, Render, Score},
};
use std::pin::pin;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long the last version is waited for, while nothing of it comes, once the learner needs no more rollouts. Longer than a learner lingers by
/// default.
const LAST_VERSION_PATIENCE: Duration = Duration::from_secs(10);

/// How long what is still computed is waited for by an actor that is about to end. Nobody needs it, and sampling may take minutes.
const UNHEARD: Duration = Duration::from_secs(1);

impl<G, P: Behaviour, R, S> RolloutLoop<G, P, R, S> {
    /// The run is complete, and whoever the tasks at hand were for may be gone.
    pub(crate) fn drop_last_tasks(&mut self, reason: &str) {
        let tasks = self.learner.forget_leases();
        tracing::info!(tasks, reason, "the run is complete: what was at hand is dropped");
        self.summary.dropped += tasks;
        self.summary.complete = true;
    }
}

impl<G: Gather, P: Behaviour, R: Render, S: Score> RolloutLoop<G, P, R, S> {
    /// Adopts the run's last version before leaving a complete run, so that every actor ends on the same weights.
    pub(crate) async fn adopt_last(&mut self) -> Result<(), ActorError> {
        let learner = self.learner.clone();
        let mut standstill = pin!(stands_still(|| learner.received()));
        while self.summary.complete && !self.policy.is_last() && !self.shutdown.is_cancelled() {
            self.adopt_newest().await?;
            if self.policy.is_last() || self.weights.closed() {
                break;
            }
            tokio::select! {
                () = &mut standstill => break,
                () = self.weights.changed() => {}
                () = self.shutdown.cancelled() => {}
            }
        }
        Ok(())
    }
}

/// Returns once `received` has stayed as it is for [`LAST_VERSION_PATIENCE`].
async fn stands_still(received: impl Fn() -> Received) {
    let mut before = received();
    loop {
        sleep(LAST_VERSION_PATIENCE).await;
        let now = received();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Hands open leases back, or drops them where the run is complete, joins what was started, and sums up. Whoever idles once the run is
/// complete does so when nothing is computed any more.
pub(crate) async fn leave<G, P: Behaviour, R, S>(
    mut rollouts: RolloutLoop<G, P, R, S>,
    on_run_end: OnRunEnd,
) -> Result<ActorSummary, ActorError> {
    if rollouts.weights.run_is_over() && !rollouts.summary.complete {
        rollouts.drop_last_tasks("the actor stops");
    }
    let RolloutLoop {
        learner,
        policy,
        mut weights,
        shutdown,
        mut summary,
        ..
    } = rollouts;
    // Before the learner is told: a later call would take that back.
    weights.stop().await;
    match learner.leave().await {
        Ok(handed_back) => summary.handed_back = handed_back,
        Err(status) => {
            tracing::warn!(
                error = status.message(),
                "leases were not handed back and will expire"
            )
        }
    }
    let idles = summary.complete && on_run_end == OnRunEnd::Idle;
    let unheard = async {
        if idles {
            shutdown.cancelled().await;
        }
        sleep(UNHEARD).await;
    };
    let joined = async { tokio::join!(weights.stopped(), policy.unload()).1 };
    tokio::select! {
        // First of all it begins to unload, off the runtime.
        biased;
        joined = joined => joined?,
        () = unheard => {
            tracing::info!("what is still computed is not waited for");
        }
    }
    let received = learner.received();
    (summary.adapter_bytes_received, summary.base_bytes_received) = (received.adapter, received.base);
    summary.relay_bytes_received = received.from_relays;
    Ok(summary)
}

/// Returns once the time to finish after `shutdown` is over.
pub(crate) async fn drained(shutdown: CancellationToken, deadline: Duration) {
    shutdown.cancelled().await;
    sleep(deadline).await;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::learner_client::LearnerClient;
    use crate::scripted_learner::{Script, join, join_at, manifest, serve_to};
    use crate::scripted_network::{InMemory, at};
    use crate::{
        ActorConfig,
        background::Background,
        failure::PerTask,
        instruments::Instruments,
        manifest::Manifest,
        pairing::PairingRule,
        products::CutOut,
        shelf::{Adapter, Shelf},
        simulated::stand_ins::{Unrendered, Unscored, Unseen},
        weight_source::{Adapted, BuildWeights, Built, WeightSource},
        weight_sync::WeightSync,
    };
    use common::{CanaryReport, CanaryVerdict, PolicyVersion, ProductTask, Trajectory};
    use proto::pb;
    use std::{future::pending, sync::Arc};
    use tokio::time::{Instant, timeout};

    /// Builds nothing.
    #[derive(Default)]
    struct Unbuilt {
        is_next: bool,
        /// Whether what comes after the first version takes effect.
        takes_effect: bool,
    }

    impl BuildWeights for Unbuilt {
        type Weights = ();

        async fn build(&mut self, _: Arc<Adapter>, _: &Manifest) -> Result<Built<()>, ActorError> {
            let mismatch = CanaryReport {
                verdict: CanaryVerdict::Mismatch,
                deviation: 1.0,
                tolerance: 0.1,
                separation: 1.0,
            };
            let is_next = std::mem::replace(&mut self.is_next, true);
            Ok(Built {
                weights: (),
                canary: (is_next && !self.takes_effect).then_some(mismatch),
            })
        }
    }

    /// A policy that computes for longer than any test.
    pub(crate) struct Busy(Arc<Adapted<()>>);

    impl Behaviour for Busy {
        type Weights = ();

        fn version(&self) -> PolicyVersion {
            self.0.version
        }

        fn canary(&self) -> Option<CanaryReport> {
            None
        }

        fn is_last(&self) -> bool {
            self.0.last
        }

        async fn sample(&self, _: &[ProductTask], _: &PerTask<Arc<CutOut>>) -> PerTask<Vec<Trajectory>> {
            pending().await
        }

        async fn adopt(&mut self, adapted: Arc<Adapted<()>>) -> Result<(), ActorError> {
            self.0 = adapted;
            Ok(())
        }

        async fn unload(self) -> Result<(), ActorError> {
            pending().await
        }
    }

    /// A loop of that policy from its version `first` on, with these services.
    pub(crate) async fn rollouts<R, S>(
        first: pb::PolicyManifest,
        renderer: R,
        reward: S,
    ) -> RolloutLoop<Unseen, Busy, R, S> {
        rollouts_of(Script::default(), first, renderer, reward).await
    }

    /// The same with a learner that does as `script` says.
    pub(crate) async fn rollouts_of<R, S>(
        mut script: Script,
        first: pb::PolicyManifest,
        renderer: R,
        reward: S,
    ) -> RolloutLoop<Unseen, Busy, R, S> {
        script.artifacts.insert(store::digest(b"x"), b"x".to_vec());
        let (learner, _, _) = join(first, script).await;
        rollouts_with(learner, Unbuilt::default(), renderer, reward).await
    }

    /// The same of one that has joined.
    async fn rollouts_with<R, S>(
        learner: Arc<LearnerClient>,
        builder: Unbuilt,
        renderer: R,
        reward: S,
    ) -> RolloutLoop<Unseen, Busy, R, S> {
        let mut source = WeightSource::new(learner.clone(), Arc::new(Shelf::new()), builder);
        let adapted = source.newest().await.unwrap();
        let config = ActorConfig::default();
        RolloutLoop {
            learner,
            weights: WeightSync::start(source, &adapted, &Background::shared()),
            products: Unseen::new(),
            policy: Busy(adapted),
            renderer,
            reward,
            rule: PairingRule::from(&config),
            tasks_per_lease: 1,
            patience: Duration::from_secs(1),
            shutdown: CancellationToken::new(),
            summary: ActorSummary::default(),
            instruments: Instruments::default(),
        }
    }

    /// How an actor leaves that computes, with its run complete or not, and that is asked to stop or not.
    async fn leaves(
        complete: bool,
        on_run_end: OnRunEnd,
        shutdown: CancellationToken,
    ) -> Option<ActorSummary> {
        let mut rollouts = rollouts(manifest(2, 3, b"x"), (), ()).await;
        rollouts.summary.complete = complete;
        rollouts.shutdown = shutdown;
        let left = timeout(Duration::from_secs(5), leave(rollouts, on_run_end)).await;
        left.ok().map(Result::unwrap)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_version_is_waited_for_as_long_as_some_of_it_comes() {
        let adapter = [7; 40];
        let last = pb::PolicyManifest {
            last: true,
            ..manifest(2, 4, &adapter)
        };
        for (pause_s, took_s, version) in [(4, 40, 4), (11, 10, 3)] {
            let artifacts = [b"x".as_slice(), &adapter].map(|bytes| (store::digest(bytes), bytes.to_vec()));
            let script = Script {
                artifacts: artifacts.into(),
                announced: vec![last.clone()],
                ..Script::default()
            };
            let network = InMemory::default();
            let script = serve_to(network.listen(1), manifest(2, 3, b"x"), script);
            let (learner, _) = join_at(&format!("http://{}", at(1)), Arc::new(network.clone())).await;
            let builder = Unbuilt {
                takes_effect: true,
                ..Unbuilt::default()
            };
            let mut rollouts = rollouts_with(learner, builder, Unrendered, Unscored).await;
            script.lock().unwrap().pause = Duration::from_secs(pause_s);
            let begun = Instant::now();
            rollouts.run().await.unwrap();
            assert!(rollouts.summary.complete);
            assert_eq!(rollouts.policy.version().number, version);
            let waited = begun.elapsed().as_secs();
            assert!((took_s..took_s + 6).contains(&waited), "{waited} s");
        }
    }

    #[tokio::test]
    async fn whoever_is_about_to_end_does_not_wait_for_what_is_still_computed_and_whoever_idles_does() {
        let (goes_on, stopped) = (CancellationToken::new, CancellationToken::new());
        stopped.cancel();
        assert!(leaves(false, OnRunEnd::Idle, goes_on()).await.is_some());
        assert!(leaves(true, OnRunEnd::Exit, goes_on()).await.is_some());
        assert!(leaves(true, OnRunEnd::Idle, stopped).await.is_some());
        assert!(leaves(true, OnRunEnd::Idle, goes_on()).await.is_none());
    }
}

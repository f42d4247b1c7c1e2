//! An actor that computes nothing: for measuring and testing what is around the computing.
//!
//! Joining, leases, outcomes, announcements, weights and relaying are those of an actor. Sampling, rendering and scoring are a
//! pause, and outcomes drawn from the seeds that a task has anyway; where decode steps are measured, sampling is an actor's too.

use crate::{
    ActorConfig, ActorError, ActorSummary, PassesOn,
    background::{Background, OF_WEIGHTS},
    decode_times::DecodeTimes,
    failure::PerTask,
    health::Health,
    instruments::Instruments,
    learner_client::{CallTimes, LearnerClient, Lease},
    leaving::{drained, leave},
    manifest::Manifest,
    pairing::PairingRule,
    policy::BehaviourPolicy,
    policy_builder::PolicyBuilder,
    product_images::ProductImages,
    rendering::{RenderedGroup, RenderedImage, comparable},
    reward_client::GroupRewards,
    rollout_loop::RolloutLoop,
    room::Room,
    seconds,
    shelf::Adapter,
    stages::{Behaviour, Render, Score, Service},
    weight_source::{Adapted, BuildWeights, Built, WeightSource},
    weight_sync::WeightSync,
};
use common::{
    ActorId, CanaryReport, CandidateImage, Digest, Finish, PolicyVersion, ProductTask, Purpose, Reward,
    Trajectory, derive_seed,
};
use models::policy::Policy;
use proto::{Authorizer, Incoming, Network};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use store::Store;
use tokio_util::sync::CancellationToken;

/// Tokens are below this, as in any vocabulary of LLaVA's.
const VOCABULARY: u32 = 32_000;

/// What a simulated actor needs besides its configuration.
#[derive(Clone)]
pub struct SimulatedActorInputs {
    /// Its name in the run.
    pub actor_id: ActorId,
    /// Where the learner listens.
    pub learner_url: String,
    /// What the learner and other actors are reached over.
    pub network: Arc<dyn Network>,
    /// When it asks for its first tasks, once it has joined.
    pub begin: CancellationToken,
    /// How long after that, so that actors that begin together do not go on together.
    pub delay: Duration,
    /// Calls that end while it is set are timed.
    pub timed: Arc<AtomicBool>,
    /// How it samples.
    pub sampling: SimulatedSampling,
    /// Who may fetch from this actor.
    pub authorizer: Arc<dyn Authorizer>,
}

/// How a simulated actor samples. Rendering and scoring take no time.
#[derive(Clone)]
pub enum SimulatedSampling {
    /// It pauses for so long, for each lease.
    Pause(Duration),
    /// It pauses until this is cancelled.
    #[cfg(test)]
    Until(CancellationToken),
    /// It decodes as an actor does.
    Decode(Box<Decoding>),
}

/// What a simulated actor decodes with.
#[derive(Clone)]
pub struct Decoding {
    /// The base of the run's versions.
    pub policy: Policy,
    /// The run's store, which has the cut-outs of its products.
    pub store: Store,
    /// When its decode steps end.
    pub times: DecodeTimes,
}

/// Where a simulated actor is reached.
pub struct Served<I> {
    /// Who comes in.
    pub incoming: I,
    /// On which port.
    pub port: u16,
}

/// Takes part in a run as [`run`](crate::run) does; answers also how long its calls took. Where it is not served it passes nothing on
/// and nobody can ask for its health: a thousand of them are then a thousand connections.
///
/// # Errors
/// [`ActorError`] of the configuration and the learner.
pub async fn run_simulated(
    config: ActorConfig,
    inputs: SimulatedActorInputs,
    served: Option<Served<impl Incoming>>,
    shutdown: CancellationToken,
) -> Result<(ActorSummary, CallTimes), ActorError> {
    config.validate()?;
    let Some(Served { incoming, port }) = served else {
        return take_part(&config, inputs, PassesOn::nothing(), &shutdown).await;
    };
    let (passes_on, relay) = PassesOn::on(port, &config, inputs.authorizer.clone());
    let health = Health::serve(incoming, config.max_connections, relay).await;
    let summary = take_part(&config, inputs, passes_on, &shutdown).await;
    health.stop().await?;
    summary
}

async fn take_part(
    config: &ActorConfig,
    inputs: SimulatedActorInputs,
    passes_on: PassesOn,
    shutdown: &CancellationToken,
) -> Result<(ActorSummary, CallTimes), ActorError> {
    let SimulatedActorInputs {
        actor_id,
        learner_url,
        network,
        begin,
        delay,
        timed,
        sampling,
        authorizer: _,
    } = inputs;
    let background = match sampling {
        SimulatedSampling::Decode(_) => Background::start(OF_WEIGHTS)?,
        _ => Background::shared(),
    };
    let port = passes_on.port;
    let (mut learner, _) =
        LearnerClient::join(&learner_url, network, actor_id, port, config, &background).await?;
    learner.time_calls_while(timed);
    let learner = Arc::new(learner);
    passes_on.joined(&learner);
    let begun = async {
        begin.cancelled().await;
        tokio::time::sleep(delay).await;
    };
    let (shelf, run_seed) = (passes_on.shelf, learner.run_seed());
    let pause = match sampling {
        SimulatedSampling::Pause(time) => Lasting::For(time),
        #[cfg(test)]
        SimulatedSampling::Until(over) => Lasting::Until(over),
        SimulatedSampling::Decode(decoding) => {
            let Decoding { policy, store, times } = *decoding;
            let products = Arc::new(ProductImages::new(
                store,
                config.product_cache_bytes,
                Room::of(config),
            ));
            let thread = background.compute_thread().await?;
            let builder = PolicyBuilder::new(&policy, products.clone(), thread);
            let mut source = WeightSource::new(learner.clone(), shelf, builder);
            let adapted = source.newest().await?;
            let weights = WeightSync::start(source, &adapted, &background);
            let policy =
                BehaviourPolicy::start(policy, adapted, products, run_seed, config, Some(times)).await?;
            return work(config, learner, weights, policy, begun, shutdown).await;
        }
    };
    let mut source = WeightSource::new(learner.clone(), shelf, Unbuilt);
    let adapted = source.newest().await?;
    let weights = WeightSync::start(source, &adapted, &background);
    let policy = Pause {
        adapted,
        run_seed,
        group_size: config.group_size,
        tokens: config.max_new_tokens,
        lasting: pause,
    };
    work(config, learner, weights, policy, begun, shutdown).await
}

/// The loop from when it has `begun`.
async fn work<P: Behaviour>(
    config: &ActorConfig,
    learner: Arc<LearnerClient>,
    weights: WeightSync<P::Weights>,
    policy: P,
    begun: impl Future<Output = ()>,
    shutdown: &CancellationToken,
) -> Result<(ActorSummary, CallTimes), ActorError> {
    let mut rollouts = RolloutLoop {
        policy,
        renderer: Unrendered,
        reward: Unscored,
        weights,
        rule: PairingRule::from(config),
        tasks_per_lease: config.tasks_per_lease,
        patience: seconds(config.learner_timeout_s),
        shutdown: shutdown.clone(),
        summary: ActorSummary {
            run_id: Some(learner.run().clone()),
            ..ActorSummary::default()
        },
        learner: learner.clone(),
        instruments: Instruments::default(),
    };
    // Whoever gives the sign to begin sees who is there.
    rollouts.report("").await?;
    tokio::select! {
        () = begun => {}
        () = shutdown.cancelled() => {}
    }
    let ended = tokio::select! {
        ended = rollouts.run() => ended,
        () = drained(shutdown.clone(), seconds(config.drain_timeout_s)) => Ok(()),
    };
    let summary = leave(rollouts, config.on_run_end).await;
    ended.and(summary).map(|summary| (summary, learner.call_times()))
}

/// In the place of the policy that bytes would be built into.
struct Unbuilt;

impl BuildWeights for Unbuilt {
    type Weights = ();

    async fn build(&mut self, adapter: Arc<Adapter>, manifest: &Manifest) -> Result<Built<()>, ActorError> {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let (version, adapter) = (manifest.version, store::digest(&adapter.chunks().concat()));
            tracing::debug!(%version, %adapter, "version received");
        }
        Ok(Built {
            weights: (),
            canary: None,
        })
    }
}

/// In the place of the policy.
struct Pause {
    adapted: Arc<Adapted<()>>,
    run_seed: u64,
    group_size: usize,
    tokens: usize,
    lasting: Lasting,
}

/// How long a pause is.
enum Lasting {
    For(Duration),
    #[cfg(test)]
    Until(CancellationToken),
}

impl Behaviour for Pause {
    type Weights = ();

    fn version(&self) -> PolicyVersion {
        self.adapted.version
    }

    fn canary(&self) -> Option<CanaryReport> {
        self.adapted.canary
    }

    fn is_last(&self) -> bool {
        self.adapted.last
    }

    async fn sample(&self, tasks: &[ProductTask]) -> PerTask<Vec<Trajectory>> {
        match &self.lasting {
            Lasting::For(time) => tokio::time::sleep(*time).await,
            #[cfg(test)]
            Lasting::Until(over) => over.cancelled().await,
        }
        tasks.iter().map(|task| Ok(self.group(task))).collect()
    }

    async fn adopt(&mut self, adapted: Arc<Adapted<()>>) -> Result<(), ActorError> {
        self.adapted = adapted;
        Ok(())
    }

    async fn unload(self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl Pause {
    fn group(&self, task: &ProductTask) -> Vec<Trajectory> {
        let version = self.version();
        let seed = derive_seed(self.run_seed, task.id, version, Purpose::Sampling);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut trajectory = || {
            let ids: Vec<u32> = (0..self.tokens)
                .map(|_| random.random_range(0..VOCABULARY))
                .collect();
            let text = format!("{} {}", task.caption, ids[0]);
            let log_probs = vec![-1.0; ids.len()];
            let drawn = Trajectory::new(task.id, version, ids, log_probs, text, Finish::Stop);
            drawn.expect("as many finite log-probabilities as tokens")
        };
        (0..self.group_size).map(|_| trajectory()).collect()
    }
}

/// In the place of the image generator.
struct Unrendered;

impl Service for Unrendered {
    async fn recovered(&mut self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl Render for Unrendered {
    async fn render(&mut self, _: &Lease, sampled: &PerTask<Vec<Trajectory>>) -> PerTask<RenderedGroup> {
        let image = |trajectory: &Trajectory| RenderedImage {
            candidate: CandidateImage {
                digest: Some(store::digest(trajectory.text().as_bytes())),
                defects: 0,
                barred: None,
            },
            png: bytes::Bytes::new(),
        };
        let group = |group: &Vec<Trajectory>| group.iter().map(image).collect();
        sampled
            .iter()
            .map(|sampled| sampled.as_ref().map(group).map_err(Clone::clone))
            .collect()
    }
}

/// In the place of the reward-server.
struct Unscored;

impl Service for Unscored {
    async fn recovered(&mut self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl Score for Unscored {
    async fn score(&mut self, _: &Lease, rendered: &PerTask<RenderedGroup>) -> PerTask<Option<GroupRewards>> {
        let rewards = |images: &RenderedGroup| {
            let images = comparable(images)?;
            let digests = images.iter().filter_map(|image| image.candidate.digest);
            Some(GroupRewards {
                rewards: digests.map(|digest| reward(&digest)).collect(),
                model: store::digest(b"simulated"),
            })
        };
        rendered
            .iter()
            .map(|images| images.as_ref().map(rewards).map_err(Clone::clone))
            .collect()
    }
}

/// A number between 0 and 1 that is an image's own.
fn reward(image: &Digest) -> Reward {
    let [high, low, ..] = *image.as_bytes();
    Reward::new(f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX)).expect("finite")
}

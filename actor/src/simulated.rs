//! An actor that computes nothing: for measuring and testing what is around the computing.
//!
//! Joining, leases, outcomes, announcements, weights and relaying are those of an actor. Sampling, rendering and scoring are a
//! pause, and outcomes drawn from the seeds that a task has anyway; where decode steps are measured, sampling is an actor's too.

pub(crate) mod stand_ins;

use crate::{
    ActorConfig, ActorError, ActorSummary, PassesOn,
    background::{Background, OF_WEIGHTS},
    decode_times::DecodeTimes,
    health::Health,
    instruments::Instruments,
    learner_client::{CallTimes, LearnerClient},
    leaving::{drained, leave},
    pairing::PairingRule,
    policy::BehaviourPolicy,
    policy_builder::PolicyBuilder,
    product_images::ProductImages,
    products::Products,
    recorded_end::{EndWatch, ExpectedRun},
    rollout_loop::RolloutLoop,
    room::Room,
    seconds,
    shelf::Shelf,
    stages::{Behaviour, Gather},
    weight_source::WeightSource,
    weight_sync::WeightSync,
};
use common::ActorId;
use models::policy::Policy;
use proto::{Authorizer, Incoming, Network};
use stand_ins::{Pausing, Unbuilt, Unrendered, Unscored, Unseen};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use store::Store;
use tokio_util::sync::CancellationToken;

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
    /// Where it looks whether which run is over while no learner answers; `None`: it does not.
    pub looks_in: Option<(Store, ExpectedRun)>,
}

/// How a simulated actor samples. Rendering and scoring take no time.
#[derive(Clone)]
pub enum SimulatedSampling {
    /// It pauses for so long, for each lease.
    Pause(Duration),
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
        looks_in,
    } = inputs;
    let background = match sampling {
        SimulatedSampling::Pause(_) => Background::shared(),
        SimulatedSampling::Decode(_) => Background::start(OF_WEIGHTS)?,
    };
    let port = passes_on.port;
    let run_id = looks_in.as_ref().map(|(_, expected)| expected.id.clone());
    let peer = LearnerClient::at(&learner_url, network, &actor_id, config);
    let mut end = EndWatch::new(looks_in, &peer);
    let joining = LearnerClient::join(peer, actor_id, config.deciding(), port, config, &background);
    let Some((mut learner, _)) = end.unless_over(joining).await? else {
        let summary = run_id.as_ref().map(ActorSummary::of).unwrap_or_default();
        return Ok((summary.too_late(), CallTimes::default()));
    };
    learner.time_calls_while(timed);
    let learner = Arc::new(learner);
    end.joined(&learner);
    passes_on.joined(&learner);
    let begun = async {
        begin.cancelled().await;
        tokio::time::sleep(delay).await;
    };
    let joined = Joined {
        config,
        learner,
        shelf: passes_on.shelf,
        background,
        end,
        begun,
        shutdown,
    };
    match sampling {
        SimulatedSampling::Pause(time) => joined.pausing(move || tokio::time::sleep(time)).await,
        SimulatedSampling::Decode(decoding) => joined.decoding(*decoding).await,
    }
}

/// An actor that has joined its run, and asks for its first tasks when it has `begun`.
pub(crate) struct Joined<'a, B> {
    pub(crate) config: &'a ActorConfig,
    pub(crate) learner: Arc<LearnerClient>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) background: Background,
    pub(crate) end: EndWatch,
    pub(crate) begun: B,
    pub(crate) shutdown: &'a CancellationToken,
}

impl<B: Future<Output = ()>> Joined<'_, B> {
    /// Takes part with a pause in the place of sampling, for each lease.
    pub(crate) async fn pausing<F>(
        mut self,
        pause: impl Fn() -> F + Send + Sync,
    ) -> Result<(ActorSummary, CallTimes), ActorError>
    where
        F: Future<Output = ()> + Send,
    {
        let mut source = WeightSource::new(self.learner.clone(), self.shelf.clone(), Unbuilt);
        let Some(adapted) = self.end.unless_over(source.newest()).await? else {
            return Ok(self.too_late().await);
        };
        let weights = WeightSync::start(source, &adapted, &self.background);
        let policy = Pausing {
            adapted,
            run_seed: self.learner.run_seed(),
            group_size: self.config.group_size,
            tokens: self.config.max_new_tokens,
            pause,
        };
        self.work(Unseen::new(), policy, weights).await
    }

    /// Takes part with an actor's own sampling.
    async fn decoding(mut self, decoding: Decoding) -> Result<(ActorSummary, CallTimes), ActorError> {
        let Decoding { policy, store, times } = decoding;
        let images = Arc::new(ProductImages::new(store, self.config.product_cache_bytes));
        let thread = self.background.compute_thread().await?;
        let builder = PolicyBuilder::new(&policy, images.clone(), thread);
        let mut source = WeightSource::new(self.learner.clone(), self.shelf.clone(), builder);
        let Some(adapted) = self.end.unless_over(source.newest()).await? else {
            return Ok(self.too_late().await);
        };
        let weights = WeightSync::start(source, &adapted, &self.background);
        let run_seed = self.learner.run_seed();
        let (config, background) = (self.config, &self.background);
        let policy =
            BehaviourPolicy::start(policy, adapted, run_seed, config, background, Some(times)).await?;
        let products = Products::new(images, Arc::new(Room::of(self.config)));
        self.work(products, policy, weights).await
    }

    /// The run was over before there was anything to sample from.
    async fn too_late(self) -> (ActorSummary, CallTimes) {
        // A run that ends waits for whoever has joined it.
        let _holds_none = self.learner.leave().await;
        let summary = ActorSummary::of(self.learner.run()).too_late();
        (summary, self.learner.call_times())
    }

    /// The loop from when it has begun.
    async fn work<P: Behaviour>(
        self,
        products: impl Gather,
        policy: P,
        weights: WeightSync<P::Weights>,
    ) -> Result<(ActorSummary, CallTimes), ActorError> {
        let Self {
            config,
            learner,
            mut end,
            begun,
            shutdown,
            background: _running,
            ..
        } = self;
        let mut rollouts = RolloutLoop {
            products,
            policy,
            renderer: Unrendered,
            reward: Unscored,
            weights,
            rule: PairingRule::from(config),
            tasks_per_lease: config.tasks_per_lease,
            patience: seconds(config.learner_timeout_s),
            shutdown: shutdown.clone(),
            summary: ActorSummary::of(learner.run()),
            learner: learner.clone(),
            instruments: Instruments::default(),
        };
        // Whoever gives the sign to begin sees who is there.
        let _over_or_not = end.unless_over(rollouts.report("")).await?;
        tokio::select! {
            () = begun => {}
            () = shutdown.cancelled() => {}
        }
        let ended = tokio::select! {
            ended = end.while_rolling_out(&mut rollouts) => ended,
            () = drained(shutdown.clone(), seconds(config.drain_timeout_s)) => Ok(()),
        };
        let summary = leave(rollouts, config.on_run_end).await;
        ended.and(summary).map(|summary| (summary, learner.call_times()))
    }
}

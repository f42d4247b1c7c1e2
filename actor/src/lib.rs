//! An actor turns leased product tasks into preference pairs.
//!
//! The loop is `rollout_loop.rs`: lease, sample, render, score, pair, submit, adopt. An actor keeps nothing that matters:
//! it starts with an empty directory, gets the policy over gRPC, and can be killed at any moment. It never knows losses,
//! gradients, or how many actors there are.

mod announcements;
mod background;
mod base_model;
mod canary;
mod config;
mod decode_times;
mod diffusion;
#[cfg(feature = "testing")]
pub mod doors;
mod error;
mod failure;
mod guardrails;
mod health;
mod instruments;
mod learner_client;
mod leaving;
mod manifest;
mod pairing;
mod peer;
mod policy;
mod policy_builder;
mod product_images;
mod products;
mod recorded_end;
mod relay;
mod remote_generator;
mod rendering;
mod reward_client;
mod rollout_loop;
mod room;
#[cfg(test)]
mod scripted_learner;
#[cfg(test)]
mod scripted_network;
mod shelf;
mod simulated;
mod stages;
mod startup;
mod summary;
mod undone;
mod weight_source;
mod weight_sync;

pub use background::Background;
pub use config::{ActorConfig, Generator, Labels, OnRunEnd};
pub use decode_times::{DecodeStep, DecodeTimes};
pub use diffusion::{DiffusionConfig, DiffusionFiles, DiffusionGenerator, Painter, Placing};
pub use error::{ActorError, LastAttempt};
pub use guardrails::{
    Blank, GuardrailError, Guardrails, GuardrailsConfig, Halo, Leakage, Measures, ProductMeasures,
    UnusableList, Visibility,
};
pub use instruments::Instruments;
pub use learner_client::CallTimes;
pub use recorded_end::{ExpectedRun, end_of};
pub use remote_generator::RemoteGenerator;
pub use simulated::{Decoding, Served, SimulatedActorInputs, SimulatedSampling, run_simulated};
pub use summary::ActorSummary;

use announcements::run_is_over;
use common::{ActorId, DecidingSettings};
use config::seconds;
use data::ImageGenerator;
use health::Health;
use learner_client::LearnerClient;
use leaving::{drained, leave};
use manifest::Manifest;
use models::checkpoint::in_log;
use models::device::Placement;
use models::policy::Policy;
use pairing::PairingRule;
use peer::Peer;
use policy::BehaviourPolicy;
use policy_builder::PolicyBuilder;
use product_images::ProductImages;
use products::Products;
use proto::Authorizer;
use proto::tls::Transport;
use recorded_end::EndWatch;
use relay::{Part, Relay};
use rendering::Renderer;
use reward_client::RewardClient;
use rollout_loop::RolloutLoop;
use room::Room;
use shelf::Shelf;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use undone::UndoneLeases;
use weight_source::WeightSource;
use weight_sync::WeightSync;

/// What an actor needs besides its configuration.
#[derive(Clone)]
pub struct ActorInputs {
    /// Its name in the run; a restarted actor takes a new one.
    pub actor_id: ActorId,
    /// The run whose end is looked for in the store where no learner answers. One that answers may serve another.
    pub expected: ExpectedRun,
    /// Where the learner listens, such as `http://127.0.0.1:7000`.
    pub learner_url: String,
    /// Where the reward-server listens.
    pub reward_url: String,
    /// The run's store: product images are read from it, rendered images written to it.
    pub store: Store,
    /// What turns descriptions into images.
    pub image_generator: Arc<dyn ImageGenerator>,
    /// The settings that decide what it makes of them, and what the files hold that it makes it with; the learner is told them beside the
    /// actor's own.
    pub rendering: DecidingSettings,
    /// The configured guardrails, whose lists can be used.
    pub guardrails: Arc<Guardrails>,
    /// Where the base model's files are put; made when it does not exist.
    pub work_dir: PathBuf,
    /// Where the policy computes, in which number format.
    pub placement: Placement,
    /// Who may fetch from this actor.
    pub authorizer: Arc<dyn Authorizer>,
    /// What connections are made of, both ways.
    pub transport: Transport,
    /// Through which the process is watched.
    pub instruments: Instruments,
}

/// What an actor passes on, and where.
struct PassesOn {
    shelf: Arc<Shelf>,
    /// Set once it has joined.
    part: Arc<OnceLock<Part>>,
    /// 0 when it does not.
    port: u16,
}

impl PassesOn {
    /// On `port`, if the configuration says so, with the service for it.
    fn on(port: u16, config: &ActorConfig, authorizer: Arc<dyn Authorizer>) -> (Self, Option<Relay>) {
        let (shelf, part) = (Arc::new(Shelf::new()), Arc::new(OnceLock::new()));
        let relay = Relay::new(shelf.clone(), authorizer, part.clone());
        let port = if config.relay { port } else { 0 };
        (Self { shelf, part, port }, config.relay.then_some(relay))
    }

    /// Nothing, nowhere.
    fn nothing() -> Self {
        Self {
            shelf: Arc::new(Shelf::new()),
            part: Arc::default(),
            port: 0,
        }
    }

    /// From now on callers of the run are served.
    fn joined(&self, learner: &LearnerClient) {
        // A second call would say the same.
        let _same = self.part.set(Part {
            run: learner.run().clone(),
            actor: learner.caller().clone(),
        });
    }
}

/// Takes part in a run until the learner says that it is complete, and then, if [`OnRunEnd::Idle`] says so, does nothing until `shutdown`.
/// At `shutdown` it drains: the tasks at hand are
/// finished within [`ActorConfig::drain_timeout_s`] or handed back. The health service is served on `listener`.
///
/// # Errors
/// [`ActorError`] when the configuration is impossible, the learner, the image generator or the reward-server cannot be reached, or the learner
/// refuses or sends weights that cannot be used. Leases are then handed back.
pub async fn run(
    config: ActorConfig,
    inputs: ActorInputs,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<ActorSummary, ActorError> {
    config.validate()?;
    let port = listener.local_addr().map_or(0, |address| address.port());
    let (passes_on, relay) = PassesOn::on(port, &config, inputs.authorizer.clone());
    let incoming = inputs.transport.incoming(listener);
    let health = Health::serve(incoming, config.max_connections, relay).await;
    let (instruments, placement) = (inputs.instruments.clone(), inputs.placement.clone());
    let summary = take_part(&config, inputs, passes_on, &health, &shutdown).await;
    let complete = summary.as_ref().is_ok_and(|summary| summary.complete);
    if complete {
        instruments.run_is_complete();
    }
    if complete && config.on_run_end == OnRunEnd::Idle {
        let freed = tokio::task::spawn_blocking(move || placement.give_back_memory()).await;
        if let Err(error) = freed {
            tracing::warn!(%error, "the device did not give back what it keeps");
        }
        tracing::info!("the run is complete: idle until stopped");
        shutdown.cancelled().await;
    }
    health.stop().await?;
    summary
}

/// The loop with products, a policy, an image generator and a reward-server.
type ActorLoop = RolloutLoop<Products, BehaviourPolicy, Renderer, RewardClient>;

/// Starts up, loops, and leaves nothing behind.
async fn take_part(
    config: &ActorConfig,
    inputs: ActorInputs,
    passes_on: PassesOn,
    health: &Health,
    shutdown: &CancellationToken,
) -> Result<ActorSummary, ActorError> {
    let pulse = inputs.instruments.pulse.clone();
    let background = Background::start(background::OF_WEIGHTS)?;
    let (network, expected) = (inputs.transport.network(), inputs.expected.clone());
    let peer = LearnerClient::at(&inputs.learner_url, network, &inputs.actor_id, config);
    let mut end = EndWatch::new(Some((inputs.store.clone(), expected)), &peer);
    let joined = tokio::select! {
        joined = end.unless_over(join(config, &inputs, peer, passes_on.port, &background)) => joined?,
        () = shutdown.cancelled() => return Ok(ActorSummary::default()),
    };
    let Some((learner, manifest)) = joined else {
        return Ok(ActorSummary::of(&inputs.expected.id).too_late());
    };
    end.joined(&learner);
    let starting = async {
        tokio::select! {
            started = start(config, inputs, passes_on, learner.clone(), &manifest, &background, shutdown.clone()) => started.map(Some),
            over = run_is_over(&learner, &manifest) => over.map(|()| None),
        }
    };
    let started = tokio::select! {
        started = end.unless_over(starting) => started.map(|started| Some(started.flatten())),
        () = shutdown.cancelled() => Ok(None),
    };
    let mut rollouts = match started {
        Ok(Some(Some(rollouts))) => rollouts,
        ended => {
            // A run that ends waits for whoever has joined it.
            let _holds_none = learner.leave().await;
            let summary = ActorSummary::of(learner.run());
            return ended.map(|over| match over {
                Some(_) => summary.too_late(),
                None => summary,
            });
        }
    };
    health.set_ready(true).await;
    pulse.set_ready(true);
    let ended = tokio::select! {
        ended = end.while_rolling_out(&mut rollouts) => ended,
        () = async {
            shutdown.cancelled().await;
            pulse.set_ready(false);
            health.set_ready(false).await;
            drained(shutdown.clone(), seconds(config.drain_timeout_s)).await;
        } => Ok(()),
    };
    pulse.set_ready(false);
    health.set_ready(false).await;
    let summary = leave(rollouts, config.on_run_end).await;
    ended.and(summary)
}

/// Joins the run; answers with the policy to start from.
async fn join(
    config: &ActorConfig,
    inputs: &ActorInputs,
    learner: Peer,
    relay_port: u16,
    background: &Background,
) -> Result<(Arc<LearnerClient>, Manifest), ActorError> {
    let (name, settings) = (inputs.actor_id.clone(), inputs.rendering.clone());
    let settings = config.deciding().and(settings).and(inputs.guardrails.contents());
    let joining = LearnerClient::join(learner, name, settings, relay_port, config, background);
    let (learner, manifest) = startup::patient(&inputs.instruments.pulse, joining).await?;
    tracing::info!(run = %learner.run(), version = %manifest.version, "joined");
    let learner = Arc::new(learner);
    inputs.instruments.joined(&learner);
    Ok((learner, manifest))
}

/// Fetches the policy of the run that was joined, and puts the loop together.
async fn start(
    config: &ActorConfig,
    inputs: ActorInputs,
    passes_on: PassesOn,
    learner: Arc<LearnerClient>,
    manifest: &Manifest,
    background: &Background,
    shutdown: CancellationToken,
) -> Result<ActorLoop, ActorError> {
    let ActorInputs {
        actor_id: _,
        expected: _,
        learner_url: _,
        reward_url,
        store,
        image_generator,
        rendering: _,
        guardrails,
        work_dir,
        placement,
        authorizer: _,
        transport,
        instruments,
    } = inputs;
    let pulse = &instruments.pulse;
    let network = transport.network();
    passes_on.joined(&learner);
    let (shelf, run_seed) = (passes_on.shelf, learner.run_seed());
    let connecting = RewardClient::connect(&reward_url, network, learner.clone(), config);
    let reward = startup::patient(pulse, connecting).await?;
    instruments.watch_retries("reward-server", reward.retries());
    startup::patient(pulse, rendering::until_ready(image_generator.clone())).await?;
    let fetching = base_model::fetch(&learner, &manifest.base, &manifest.relays, &work_dir, &shelf);
    startup::as_bytes_come(pulse, &learner, fetching).await?;
    let progress = pulse.clone();
    let load = move || {
        let mut progress = progress.with_progress(in_log("the policy"));
        Policy::load_on(&work_dir, &placement, &mut progress)
    };
    let policy = tokio::task::spawn_blocking(load).await;
    let policy = policy.map_err(|source| ActorError::Task {
        task: "policy loading",
        source,
    })??;
    let images = Arc::new(ProductImages::new(store.clone(), config.product_cache_bytes));
    let room = Arc::new(Room::of(config));
    let thread = background.compute_thread().await?;
    let builder = PolicyBuilder::new(&policy, images.clone(), thread);
    let mut source = WeightSource::new(learner.clone(), shelf, builder);
    // Not the version that was joined at: fetching the base may have outlasted it.
    let adapted = startup::as_bytes_come(pulse, &learner, source.newest()).await?;
    let summary = ActorSummary::of(learner.run());
    Ok(RolloutLoop {
        products: Products::new(images, room.clone()),
        policy: BehaviourPolicy::start(policy, adapted.clone(), run_seed, config, background, None).await?,
        renderer: Renderer {
            generator: image_generator,
            guardrails,
            room,
            store,
            place: learner.run().images_prefix(),
            run_seed,
            concurrency: config.concurrent_renders,
            unrendered: UndoneLeases::drawn_from(learner.peer().jitter_seed()),
        },
        reward,
        weights: WeightSync::start(source, &adapted, background),
        rule: PairingRule::from(config),
        tasks_per_lease: config.tasks_per_lease,
        patience: config::seconds(config.learner_timeout_s),
        shutdown,
        learner,
        summary,
        instruments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_can_be_spawned() {
        fn sendable<T: Send>(_: impl FnOnce(ActorConfig, ActorInputs, TcpListener, CancellationToken) -> T) {}
        sendable(run);
    }
}

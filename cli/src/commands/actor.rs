//! `adwright actor`: turns leased tasks into preference pairs until the run is complete.

use crate::args::ActorArgs;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::ready::Role;
use crate::shop::Shop;
use crate::{locations, role, telemetry};
use ::actor::{ActorError, ActorInputs};
use common::ActorId;
use models::device::parse_device;
use std::path::PathBuf;

/// Runs the command.
pub(super) fn run(args: &ActorArgs) -> Outcome<()> {
    let config = super::layers(&args.config, &args.compute)
        .flag("--listen", "endpoints.actor_listen", args.listen.clone())
        .flag("--learner", "endpoints.learner", args.learner.clone())
        .flag("--reward", "endpoints.reward", args.reward.clone())
        .flag("--store", "store.url", args.store.clone())
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::ROLE);
    let (runtime, shutdown) = role::start(&config, args.compute.with_parent)?;
    let default_id = || format!("actor-{}", std::process::id());
    let actor_id = ActorId::new(args.id.clone().unwrap_or_else(default_id)).or_configuration()?;
    let work = WorkDir::new(args.work_dir.clone(), &actor_id);
    let inputs = ActorInputs {
        actor_id,
        learner_url: config.endpoints.learner.clone(),
        reward_url: config.endpoints.reward.clone(),
        store: locations::open_store("store.url", &config.store.url)?,
        image_generator: Shop::open(&config)?.generator,
        work_dir: work.path.clone(),
        device: parse_device(&config.compute.device).or_configuration()?,
    };
    runtime.block_on(async {
        let (listener, address) = role::bind(&config.endpoints.actor_listen).await?;
        let service = ::actor::run(config.actor.clone(), inputs, listener, shutdown);
        let summary = role::serve(Role::Actor, address, service).await?.map_err(blame)?;
        let version = summary.version.map(|version| version.to_string());
        tracing::info!(
            version,
            pairs = summary.pairs,
            complete = summary.complete,
            "actor finished"
        );
        Ok(())
    })
}

fn blame(error: ActorError) -> Failure {
    match error {
        ActorError::Config(_) | ActorError::Address { .. } => Failure::Configuration(error.into()),
        other => Failure::Run(other.into()),
    }
}

/// Where received weights lie. An actor's state is worth nothing after it: without `--work-dir` it is removed.
struct WorkDir {
    path: PathBuf,
    temporary: bool,
}

impl WorkDir {
    fn new(given: Option<PathBuf>, actor: &ActorId) -> Self {
        let own = || std::env::temp_dir().join(format!("adwright-{actor}-{}", std::process::id()));
        Self {
            temporary: given.is_none(),
            path: given.unwrap_or_else(own),
        }
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.temporary
            && self.path.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "temporary work directory was not removed");
        }
    }
}

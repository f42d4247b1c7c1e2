//! `adwright reward-server`: serves one reward model, ours or a checkpoint of CAIG's, and another one that takes its place.

use crate::args::RewardServerArgs;
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::ready::Role;
use crate::reward::Reward;
use crate::role::Host;
use crate::security::Security;
use crate::{locations, node_cache, role, shutdown, telemetry};
use ::reward_server::{ModelSource, RewardError, RewardServerInputs, ServedModel};
use anyhow::Context as _;
use models::checkpoint::in_log;
use proto::PeerRole;
use std::path::Path;

/// Runs the command.
pub(super) fn run(args: &RewardServerArgs) -> Outcome<()> {
    let mut config = super::role_layers(&args.role, "endpoints.reward_listen")
        .flag("--model", "paths.reward_model", args.model.clone())
        .sets(&args.role.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::ROLE)?;
    let security = Security::open(&config, PeerRole::RewardServer)?;
    config.paths.reward_model =
        node_cache::directory(&config, "paths.reward_model", &config.paths.reward_model)?;
    let host = Host::start(&config, args.role.compute.with_parent)?;
    let directory = Path::new(&config.paths.reward_model);
    locations::check_model(directory, "train-reward")?;
    // Before the model is read: whatever is written from here on is noticed.
    let trained = source(&config, Reward::into_trained);
    let caig = source(&config, Reward::into_caig);
    let mut stage = Progress::detect().stage("weights");
    let progress = &mut |done, all| stage.update(done, all, "");
    let model = Reward::load(&config, directory, progress).or_configuration()?;
    drop(stage);
    match model {
        Reward::Trained(model) => serve(&config, host, &security, *model, trained),
        Reward::Caig(model) => serve(&config, host, &security, *model, caig),
    }
}

/// The configured directory, as where models of one kind come from.
fn source<M>(
    config: &Config,
    kind: impl Fn(Reward) -> Result<M, RewardError> + Send + Sync + 'static,
) -> ModelSource<M> {
    let directory = config.paths.reward_model.clone();
    let config = config.clone();
    ModelSource::new(directory, move || {
        let directory = Path::new(&config.paths.reward_model);
        kind(Reward::load(&config, directory, &mut in_log("the reward model"))?)
    })
}

fn serve<M: ServedModel>(
    config: &Config,
    host: Host,
    security: &Security,
    model: M,
    source: ModelSource<M>,
) -> Outcome<()> {
    let shutdown = host.shutdown();
    let asked = source.asked.clone();
    let inputs = RewardServerInputs {
        model,
        source: Some(source),
        deterministic: config.learner.deterministic,
        authorizer: security.authorizer.clone(),
        transport: security.transport.clone(),
    };
    host.run(async {
        shutdown::tell_of_hangups(asked).context("cannot receive signals")?;
        let (listener, address) = role::bind(&config.endpoints.reward_listen).await?;
        let service = ::reward_server::run(config.reward_server.clone(), inputs, listener, shutdown);
        role::serve(Role::RewardServer, address, security, service).await??;
        Ok(())
    })
}

//! `adwright reward-server`: serves one reward model, ours or a checkpoint of CAIG's.

use crate::args::RewardServerArgs;
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::ready::Role;
use crate::reward::Reward;
use crate::role::Host;
use crate::{locations, role, telemetry};
use ::reward_server::ServedModel;
use std::path::Path;

/// Runs the command.
pub(super) fn run(args: &RewardServerArgs) -> Outcome<()> {
    let config = super::role_layers(&args.role, "endpoints.reward_listen")
        .flag("--model", "paths.reward_model", args.model.clone())
        .sets(&args.role.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::ROLE)?;
    let host = Host::start(&config, args.role.compute.with_parent)?;
    locations::check_model(Path::new(&config.paths.reward_model), "train-reward")?;
    let mut stage = Progress::detect().stage("weights");
    let progress = &mut |done, all| stage.update(done, all, "");
    let model = Reward::load(&config, Path::new(&config.paths.reward_model), progress).or_configuration()?;
    drop(stage);
    match model {
        Reward::Trained(model) => serve(&config, host, *model),
        Reward::Caig(model) => serve(&config, host, *model),
    }
}

fn serve(config: &Config, host: Host, model: impl ServedModel) -> Outcome<()> {
    let shutdown = host.shutdown();
    host.run(async {
        let (listener, address) = role::bind(&config.endpoints.reward_listen).await?;
        let service = ::reward_server::run(
            config.reward_server.clone(),
            model,
            config.endpoints.authorizer(),
            listener,
            shutdown,
        );
        role::serve(Role::RewardServer, address, service).await??;
        Ok(())
    })
}

//! `adwright reward-server`: serves one reward model.

use crate::args::RewardServerArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::ready::Role;
use crate::role::Host;
use crate::{locations, role, telemetry};
use models::ctr::RewardModel;
use models::device::parse_device;
use proto::AllowLoopback;
use std::path::Path;
use std::sync::Arc;

/// Runs the command.
pub(super) fn run(args: &RewardServerArgs) -> Outcome<()> {
    let config = super::role_layers(&args.role, "endpoints.reward_listen")
        .flag("--model", "paths.reward_model", args.model.clone())
        .sets(&args.role.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::ROLE)?;
    let host = Host::start(&config, args.role.compute.with_parent)?;
    let shutdown = host.shutdown();
    locations::check_model(Path::new(&config.paths.reward_model), "train-reward")?;
    let device = parse_device(&config.compute.device).or_configuration()?;
    let model = RewardModel::load(Path::new(&config.paths.reward_model), &device).or_configuration()?;
    host.run(async {
        let (listener, address) = role::bind(&config.endpoints.reward_listen).await?;
        let service = ::reward_server::run(
            config.reward_server.clone(),
            model,
            Arc::new(AllowLoopback),
            listener,
            shutdown,
        );
        role::serve(Role::RewardServer, address, service).await??;
        Ok(())
    })
}

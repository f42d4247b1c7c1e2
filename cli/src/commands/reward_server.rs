//! `adwright reward-server`: serves one reward model.

use crate::args::RewardServerArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::ready::Role;
use crate::{locations, role, telemetry};
use models::ctr::RewardModel;
use models::device::parse_device;
use proto::AllowLoopback;
use std::path::Path;
use std::sync::Arc;

/// Runs the command.
pub(super) fn run(args: &RewardServerArgs) -> Outcome<()> {
    let config = super::layers(&args.config, &args.compute)
        .flag("--listen", "endpoints.reward_listen", args.listen.clone())
        .flag("--model", "paths.reward_model", args.model.clone())
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::ROLE);
    let (runtime, shutdown) = role::start(&config, args.compute.with_parent)?;
    locations::check_model(Path::new(&config.paths.reward_model), "train-reward")?;
    let device = parse_device(&config.compute.device).or_configuration()?;
    let model = RewardModel::load(Path::new(&config.paths.reward_model), &device).or_configuration()?;
    runtime.block_on(async {
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

//! `adwright eval-reward`: a reward model's figures on held-out products of the configured click log.

use crate::args::EvalRewardArgs;
use crate::demo::reward_model_line;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{locations, output, role, shop, telemetry};
use common::Purpose;
use models::ctr::RewardModel;
use models::device::parse_device;
use std::path::Path;

/// Runs the command.
pub(super) fn run(args: &EvalRewardArgs) -> Outcome<()> {
    let config = super::layers(&args.config, &args.compute)
        .flag("--model", "paths.reward_model", args.model.clone())
        .flag("--seed", "run.seed", super::seed(args.seed))
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::QUIET)?;
    let _kernels = role::runtime(&config)?;
    locations::check_model(Path::new(&config.paths.reward_model), "train-reward")?;
    let device = parse_device(&config.compute.device).or_configuration()?;
    let model = RewardModel::load(Path::new(&config.paths.reward_model), &device).or_configuration()?;
    let log = shop::click_log(&config)?;
    let bootstrap = shop::seed(&config, Purpose::Bootstrap, 0);
    let report = reward_server::evaluate(&model, log.as_ref(), config.reward.min_impressions, bootstrap)?;
    if args.json {
        output::json(&report)?
    } else {
        output::line(&reward_model_line(&report))?
    }
    Ok(())
}

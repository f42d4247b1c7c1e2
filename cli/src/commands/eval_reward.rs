//! `adwright eval-reward`: a reward model's figures on held-out products of the configured click log.

use crate::args::EvalRewardArgs;
use crate::checks::Checks;
use crate::demo::reward_model_line;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::reward::Reward;
use crate::{locations, node_cache, output, role, telemetry};
use anyhow::Context as _;
use std::path::Path;

/// Runs the command.
pub(super) fn run(args: &EvalRewardArgs) -> Outcome<()> {
    let layers = super::layers(&args.config, &args.compute)
        .flag("--model", "paths.reward_model", args.model.clone())
        .flag("--seed", "run.seed", super::seed(args.seed))
        .sets(&args.config.sets);
    let mut checks = Checks::of(layers)?;
    checks.argument(telemetry::check());
    checks.placement();
    checks.reward_server();
    let log = checks.clicks();
    let mut config = checks.finish()?;
    let log = log.context("the click log was neither read nor refused")?;
    telemetry::init(telemetry::QUIET)?;
    let _kernels = role::runtime(&config)?;
    config.paths.reward_model =
        node_cache::directory(&config, "paths.reward_model", &config.paths.reward_model)?;
    locations::check_model(Path::new(&config.paths.reward_model), "train-reward")?;
    let directory = Path::new(&config.paths.reward_model);
    let mut stage = Progress::detect().stage("weights");
    let progress = &mut |done, all| stage.update(done, all, "");
    let model = Reward::load(&config, directory, progress).or_configuration()?;
    drop(stage);
    let report = model
        .measure(&config, log.as_ref())
        .map_err(super::blame_reward)?;
    if args.json {
        output::json(&report)?
    } else {
        output::line(&reward_model_line(&report))?
    }
    Ok(())
}

//! `adwright train-reward`: stage B, from a click log to a reward model and its figures on held-out products.

use super::stage::{self, Reporter};
use crate::args::TrainRewardArgs;
use crate::config::Config;
use crate::demo::reward_model_line;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::reward::Reward;
use crate::{locations, node_cache, shop};
use common::Purpose;
use models::ctr::CaigReward;
use models::device::parse_device;
use reward_server::{LoadedTraining, RewardError, RewardProgress};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(super) fn run(args: &TrainRewardArgs) -> Outcome<()> {
    let (model, args) = (args.model.clone(), &args.train);
    let config = stage::configure(args, |layers| layers.flag("--model", "reward.base", model))?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| config.paths.reward_model.clone().into());
    stage::run("reward model", args, config, out, bring, train)
}

/// With the base on this machine.
fn bring(mut config: Config) -> Outcome<Config> {
    config.reward.base = node_cache::base(&config, "reward.base", &config.reward.base)?;
    if !config.reward.base.is_empty() {
        locations::check_model(Path::new(&config.reward.base), "init")?;
    }
    Ok(config)
}

fn train(
    config: Config,
    out: PathBuf,
    reporter: &mut Reporter,
    cancel: &CancellationToken,
) -> Outcome<(Value, String)> {
    let log = shop::click_log(&config)?;
    reward_server::check_log(log.as_ref(), config.reward.min_impressions).map_err(blame)?;
    let seed = shop::seed(&config, Purpose::RewardTraining, 0);
    let threads = config.compute.threads;
    if config.reward.base.is_empty() {
        let device = parse_device(&config.compute.device).or_configuration()?;
        let progress = &mut |progress| report_step(reporter, progress);
        let model = reward_server::train(
            &config.reward,
            log.as_ref(),
            seed,
            &device,
            threads,
            progress,
            cancel,
        );
        model.map_err(blame)?.save(&out)?;
    } else {
        let plan = LoadedTraining {
            config: &config.reward,
            model: base(&config, seed, reporter)?,
            question: &config.reward_server.question,
            log: log.as_ref(),
            seed,
            threads,
        };
        let progress = &mut |progress| report_step(reporter, progress);
        let model = reward_server::train_loaded(plan, progress, cancel).map_err(blame)?;
        model.save(&out, &mut |_, _| ())?;
    }
    // Measured as it is written, so as it will be served.
    let written = Reward::load(&config, &out, &mut |_, _| ())?;
    let report = written.measure(&config, log.as_ref()).map_err(blame)?;
    Ok((serde_json::to_value(&report)?, reward_model_line(&report)))
}

/// The model to begin with. Loading it is progress too.
fn base(config: &Config, seed: u64, reporter: &mut Reporter) -> Outcome<CaigReward> {
    let placement = config.compute.placement().or_configuration()?;
    let weights = &mut |done, all| reporter.update(done, all, "weights".into());
    CaigReward::load_base(Path::new(&config.reward.base), &placement, seed, weights).or_configuration()
}

fn report_step(reporter: &mut Reporter, progress: RewardProgress) {
    let (done, total) = (progress.step as u64, progress.steps as u64);
    reporter.update(done, total, format!("loss {:.3}", progress.pair_loss));
}

/// Settings and click log are the user's to put right, everything else is a failed run.
fn blame(error: RewardError) -> Failure {
    if error.is_configuration() {
        Failure::Configuration(error.into())
    } else {
        Failure::Run(error.into())
    }
}

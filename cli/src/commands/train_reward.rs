//! `adwright train-reward`: stage B, from a click log to a reward model and its figures on held-out products.

use super::stage::{self, Reporter};
use crate::args::TrainRewardArgs;
use crate::checks::Checks;
use crate::config::Config;
use crate::demo::reward_model_line;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::reward::Reward;
use crate::{locations, node_cache, shop};
use anyhow::Context as _;
use common::Purpose;
use data::ClickLog;
use models::ctr::CaigReward;
use models::device::parse_device;
use reward_server::{LoadedTraining, RewardProgress};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(super) fn run(args: &TrainRewardArgs) -> Outcome<()> {
    let (model, args) = (args.model.clone(), &args.train);
    let checks = stage::configured(args, |layers| layers.flag("--model", "reward.base", model))?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| checks.config().paths.reward_model.clone().into());
    stage::run("reward model", args, checks, out, look, bring, train)
}

/// What is trained on, and whether the base is there where it lies here.
fn look(checks: &mut Checks) -> Option<Box<dyn ClickLog>> {
    if !checks.config().reward.base.is_empty() {
        checks.model("reward.base", |config| &config.reward.base, "init");
    }
    checks.clicks()
}

/// With the base on this machine.
fn bring(mut config: Config, log: Option<Box<dyn ClickLog>>) -> Outcome<(Config, Box<dyn ClickLog>)> {
    config.reward.base = node_cache::base(&config, "reward.base", &config.reward.base)?;
    if !config.reward.base.is_empty() {
        locations::check_model(Path::new(&config.reward.base), "init")?;
    }
    let log = log.context("the click log was neither read nor refused")?;
    Ok((config, log))
}

fn train(
    (config, log): (Config, Box<dyn ClickLog>),
    out: PathBuf,
    reporter: &mut Reporter,
    cancel: &CancellationToken,
) -> Outcome<(Value, String)> {
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
        model.map_err(super::blame_reward)?.save(&out)?;
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
        let model = reward_server::train_loaded(plan, progress, cancel).map_err(super::blame_reward)?;
        model.save(&out, &mut |_, _| ())?;
    }
    // Measured as it is written, so as it will be served.
    let written = Reward::load(&config, &out, &mut |_, _| ())?;
    let report = written
        .measure(&config, log.as_ref())
        .map_err(super::blame_reward)?;
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

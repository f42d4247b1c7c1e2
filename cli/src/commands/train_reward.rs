//! `adwright train-reward`: stage B, from a click log to a reward model and its figures on held-out products.

use super::stage::{self, Reporter};
use crate::args::TrainArgs;
use crate::config::Config;
use crate::demo::reward_model_line;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::shop;
use common::Purpose;
use models::device::parse_device;
use reward_server::{RewardError, RewardProgress};
use serde_json::Value;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(super) fn run(args: &TrainArgs) -> Outcome<()> {
    let config = stage::configure(args, |layers| layers)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| config.paths.reward_model.clone().into());
    stage::run("reward model", args, config, out, train)
}

fn train(
    config: Config,
    out: PathBuf,
    reporter: &mut Reporter,
    cancel: &CancellationToken,
) -> Outcome<(Value, String)> {
    let log = shop::click_log(&config)?;
    let device = parse_device(&config.compute.device).or_configuration()?;
    let model = reward_server::train(
        &config.reward,
        log.as_ref(),
        shop::seed(&config, Purpose::RewardTraining, 0),
        &device,
        config.compute.threads,
        &mut |progress: RewardProgress| {
            let (done, total) = (progress.step as u64, progress.steps as u64);
            reporter.update(done, total, format!("loss {:.3}", progress.pair_loss));
        },
        cancel,
    )
    .map_err(blame)?;
    let bootstrap = shop::seed(&config, Purpose::Bootstrap, 0);
    let report = reward_server::evaluate(&model, log.as_ref(), config.reward.min_impressions, bootstrap)
        .map_err(blame)?;
    model.save(&out)?;
    Ok((serde_json::to_value(&report)?, reward_model_line(&report)))
}

/// Settings and click log are the user's to put right, everything else is a failed run.
fn blame(error: RewardError) -> Failure {
    if error.is_configuration() {
        Failure::Configuration(error.into())
    } else {
        Failure::Run(error.into())
    }
}

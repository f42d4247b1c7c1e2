//! `adwright pretrain`: stage A, from nothing to the initial policy.

use super::stage::{self, Reporter};
use crate::args::TrainArgs;
use crate::config::Config;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::shop;
use common::Purpose;
use learner::{LearnerError, PretrainProgress, Pretraining};
use models::device::parse_device;
use models::presets::Preset;
use serde_json::{Value, json};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(super) fn run(args: &TrainArgs) -> Outcome<()> {
    let config = stage::configure(args)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| config.paths.policy.clone().into());
    stage::run("pre-training", args, config, out, train)
}

fn train(
    config: Config,
    out: PathBuf,
    reporter: &mut Reporter,
    cancel: &CancellationToken,
) -> Outcome<(Value, String)> {
    let corpus = shop::world(&config)?.corpus();
    let mut last = None;
    let plan = Pretraining {
        config: &config.pretrain,
        preset: Preset::parse(&config.policy.preset).or_configuration()?,
        corpus: &corpus,
        seed: shop::seed(&config, Purpose::Pretraining, 0),
        device: &parse_device(&config.compute.device).or_configuration()?,
        threads: config.compute.threads,
    };
    let policy = learner::pretrain(
        &plan,
        &mut |progress: PretrainProgress| {
            reporter.update(
                progress.step,
                progress.steps,
                format!("loss {:.3}", progress.loss),
            );
            last = Some(progress);
        },
        cancel,
    )
    .map_err(blame)?;
    policy.save(&out)?;
    let (steps, loss) = last.map_or((0, None), |progress| (progress.step, Some(progress.loss)));
    let parameters = policy.config.num_parameters();
    let line = format!(
        "{parameters} parameters, {steps} steps, loss {:.3} nats per token",
        loss.unwrap_or(f64::NAN)
    );
    Ok((
        json!({ "model": out, "steps": steps, "loss": loss, "parameters": parameters }),
        line,
    ))
}

fn blame(error: LearnerError) -> Failure {
    if error.is_configuration() {
        Failure::Configuration(error.into())
    } else {
        Failure::Run(error.into())
    }
}

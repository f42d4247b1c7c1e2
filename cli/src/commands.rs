//! The commands, a file each: arguments in, services and models called, results out.

mod actor;
mod bench;
mod certificates;
mod checkpoint;
mod completions;
mod config;
mod convert;
mod demo;
mod doctor;
mod eval_reward;
mod evaluate;
mod export;
mod generate;
mod init;
mod inspect;
mod launch;
mod learner;
mod ledger;
mod logprob;
mod man;
#[cfg(test)]
mod manifests;
mod model;
mod pretrain;
mod push;
mod render;
mod report;
mod reward_server;
mod score;
mod stage;
mod status;
mod train_pairs;
mod train_reward;

use crate::args::{Command, ComputeArgs, ConfigArgs, RoleArgs};
use crate::config::Layers;
use crate::failure::{Failure, Outcome};
use ::learner::LearnerError;
use ::reward_server::RewardError;

/// Runs a command to its end.
///
/// # Errors
/// Whatever the command fails with.
pub(crate) fn run(command: Command) -> Outcome<()> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Learner(args) => learner::run(&args),
        Command::Actor(args) => actor::run(&args),
        Command::RewardServer(args) => reward_server::run(&args),
        Command::Pretrain(args) => pretrain::run(&args),
        Command::TrainPairs(args) => train_pairs::run(args),
        Command::TrainReward(args) => train_reward::run(&args),
        Command::EvalReward(args) => eval_reward::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Logprob(args) => logprob::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Ledger(command) => ledger::run(&command),
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Model(command) => push::model(&command),
        Command::Catalog(command) => push::catalog(&command),
        Command::Bench(command) => bench::run(&command),
        Command::Certificates(args) => certificates::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Launch(args) => launch::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// The layers that every computing command starts with; its own flags and `--set` follow.
fn layers(config: &ConfigArgs, compute: &ComputeArgs) -> Layers {
    Layers::default()
        .files(&config.config)
        .flag("--device", "compute.device", compute.device.clone())
        .flag("--dtype", "compute.dtype", compute.dtype.clone())
}

/// The layers that every service starts with; `listen` is the key of its address.
fn role_layers(role: &RoleArgs, listen: &str) -> Layers {
    layers(&role.config, &role.compute)
        .flag("--listen", listen, role.listen.clone())
        .flag("--metrics", "telemetry.metrics_listen", role.metrics.clone())
        .flag("--learner", "endpoints.learner", role.learner.clone())
        .flag("--reward", "endpoints.reward", role.reward.clone())
        .flag("--store", "store.url", role.store.clone())
        .flag(
            "--deterministic",
            "learner.deterministic",
            role.deterministic.then_some(true),
        )
}

/// A seed as TOML has it; the command line refuses larger ones.
fn seed(given: Option<u64>) -> Option<i64> {
    given.and_then(|seed| i64::try_from(seed).ok())
}

/// Settings, click log and catalogue are the user's to put right, everything else is a failed run.
fn blame_reward(error: RewardError) -> Failure {
    if error.is_configuration() {
        Failure::Configuration(error.into())
    } else {
        Failure::Run(error.into())
    }
}

/// What training was given is the user's to put right, everything else is a failed run.
fn blame_learner(error: LearnerError) -> Failure {
    if error.is_configuration() {
        Failure::Configuration(error.into())
    } else {
        Failure::Run(error.into())
    }
}

//! Arguments of the trainings without actors, and of what is measured on their result.

use super::{ComputeArgs, ConfigArgs, seeds};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `adwright pretrain`.
#[derive(Debug, Args)]
pub(crate) struct PretrainArgs {
    /// Start from the policy of this directory or URL, in any layout, instead of from nothing
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) train: TrainArgs,
}

/// Arguments of `adwright train-reward`.
#[derive(Debug, Args)]
pub(crate) struct TrainRewardArgs {
    /// Start from the model of this directory or URL, CAIG's reward model or a policy in any layout, instead of from nothing
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) train: TrainArgs,
}

/// Arguments of `adwright train-pairs`.
#[derive(Debug, Args)]
pub(crate) struct TrainPairsArgs {
    /// The pairs: a JSON list or JSON lines in CAIG's form or in TRL's
    #[arg(long, value_name = "FILE")]
    pub(crate) pairs: PathBuf,
    /// Directory of the policy, in any layout, or its URL
    #[arg(long, value_name = "DIR")]
    pub(crate) policy: Option<String>,
    /// How often each pair is trained on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) epochs: u64,
    /// Write the metrics of every optimizer step into this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) steps: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) train: TrainArgs,
}

/// Arguments of every training without actors.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Where the model goes; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Seed of everything
    #[arg(long, value_name = "N", value_parser = seeds(), allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// JSON lines with progress on standard output
    #[arg(long, hide = true)]
    pub(crate) events: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Arguments of `adwright eval-reward`.
#[derive(Debug, Args)]
pub(crate) struct EvalRewardArgs {
    /// Directory of the reward model, or its URL (docs/models.md)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    /// Seed of the world to measure on
    #[arg(long, value_name = "N", value_parser = seeds(), allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

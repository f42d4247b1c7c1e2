//! The command line. What a flag means for the configuration is said here; what a command does is in `commands`.

mod bench;
mod certificates;
mod config;
mod models;
mod operate;
mod push;
mod render;
mod runs;
mod train;

pub(crate) use bench::{BenchCommand, BroadcastArgs, ControlPlaneArgs, SoakArgs, StalenessArgs};
pub(crate) use certificates::CertificatesArgs;
pub(crate) use config::{ConfigCommand, Starter};
pub(crate) use models::{
    ConvertArgs, ConvertTo, EvaluateArgs, ExportArgs, GenerateArgs, InitArgs, InitPreset, InspectArgs,
    LogprobArgs, ModelArgs, Preprocess, ScoreArgs,
};
pub(crate) use operate::{CompletionsArgs, DoctorArgs, LaunchArgs, ManArgs, StatusArgs};
pub(crate) use push::{CatalogCommand, ModelCommand, PushArgs};
pub(crate) use render::RenderArgs;
pub(crate) use runs::{
    CheckpointCommand, CheckpointExportArgs, CheckpointsArgs, LedgerCommand, PullArgs, RollbackArgs,
    RunPlaceArgs,
};
pub(crate) use train::{EvalRewardArgs, PretrainArgs, TrainArgs, TrainPairsArgs, TrainRewardArgs};

use crate::demo::Goal;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Trains the model that writes advertising-image backgrounds, rewarded by predicted click-through rate.
#[derive(Debug, Parser)]
#[command(name = "adwright", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: pre-training, reward model, reinforcement learning
    Demo(DemoArgs),
    /// Serve leases, train on preference pairs and publish policy versions
    Learner(LearnerArgs),
    /// Sample, render, score and submit preference pairs
    Actor(ActorArgs),
    /// Score candidate images
    RewardServer(RewardServerArgs),
    /// Stage A: train the initial policy on product and background descriptions
    Pretrain(PretrainArgs),
    /// Stage C without actors: train an adapter on a file of preference pairs, CAIG's or TRL's
    TrainPairs(TrainPairsArgs),
    /// Stage B: train the reward model on clicks and impressions
    TrainReward(TrainRewardArgs),
    /// Measure a reward model on held-out products
    EvalReward(EvalRewardArgs),
    /// Measure a policy and its adapters on test products, or on all where none are held out
    Evaluate(EvaluateArgs),
    /// Show what a model directory holds and whether it is whole
    Inspect(InspectArgs),
    /// Draw completions of a prompt
    Generate(GenerateArgs),
    /// Compute the log-probability of a completion
    Logprob(LogprobArgs),
    /// Write a checkpoint with fresh weights
    Init(InitArgs),
    /// Write a policy in another layout
    Convert(ConvertArgs),
    /// Write an adapter for other programs: alone, or folded into its base
    Export(ExportArgs),
    /// Compare two creatives with CAIG's reward model
    Score(ScoreArgs),
    /// Paint pictures around a product with a diffusion model
    Render(RenderArgs),
    /// Read what a run has recorded
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Look at what a run can go on from, take it elsewhere, or go back
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Put a model where other machines take it by URL
    #[command(subcommand)]
    Model(ModelCommand),
    /// Put a catalogue where other machines take it by URL
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Measure leases and the broadcast with roles that only pause, and staleness and memory with those of a demo
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Make certificates for the roles of a run, signed by an authority of its own
    Certificates(CertificatesArgs),
    /// Show the results of earlier demos as one Markdown table
    Report(ReportArgs),
    /// Show the configuration, check it, or describe it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look for what would keep a job from running, before it is launched
    Doctor(DoctorArgs),
    /// Show how a run goes
    Status(StatusArgs),
    /// Write a Kustomize overlay of the manifests with keys of the configuration set, and apply it
    Launch(LaunchArgs),
    /// Write completions for a shell on standard output
    Completions(CompletionsArgs),
    /// Write man pages
    Man(ManArgs),
}

/// What every command that reads the configuration takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file, or a directory whose *.toml are read in the order of their names; what is left out keeps its
    /// default. May be given several times: a later file overrides keys of earlier ones, --set those of all files
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Vec<PathBuf>,
    /// Set one key, such as learner.loss.beta=0.3; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

/// What every command that computes takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ComputeArgs {
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Number format of networks that are loaded: f32 or bf16
    #[arg(long, value_name = "DTYPE")]
    pub(crate) dtype: Option<String>,
    /// Stop when standard input ends: the process belongs to a parent that holds it open
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

/// Arguments of `adwright demo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// Where results go; an earlier demo's output there is replaced
    #[arg(long, value_name = "DIR", default_value = "out/demo")]
    pub(crate) out: PathBuf,
    /// Seed of everything: world, initial weights, order, sampling
    #[arg(long, value_name = "N", value_parser = seeds(), allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// The same world with less of everything else: samples and epochs of the first two stages, candidates, rounds, each of which
    /// learns faster
    #[arg(long)]
    pub(crate) quick: bool,
    /// Actor processes
    #[arg(long, value_name = "N")]
    pub(crate) actors: Option<u32>,
    /// Policy versions to train
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u32>,
    /// Loss: dpo, joint_swap, paper, mask_only, caption_only or compat
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<String>,
    /// Train these modes one after the other from one start and compare them
    #[arg(
        long,
        value_name = "MODE,MODE",
        value_delimiter = ',',
        num_args = 1,
        conflicts_with = "mode"
    )]
    pub(crate) compare: Vec<String>,
    /// Replace the reward's preferences by random ones, to see how much of a gain the reward explains
    #[arg(long)]
    pub(crate) control: bool,
    /// Take over the policy and the reward model of an earlier demo with the same seed, and --quick as it had: only reinforcement
    /// learning runs
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Advertise the products of a JSON catalogue ([{id, image, new_caption}]), or of its URL, instead of the simulated shop's
    #[arg(long, value_name = "FILE")]
    pub(crate) catalog: Option<PathBuf>,
    /// Same bytes for the same seed, at some cost in speed
    #[arg(long)]
    pub(crate) deterministic: bool,
    /// Show the reinforcement learning on this address while it goes on, such as 127.0.0.1:7403 (docs/dashboard.md)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) dashboard: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// What the three services take alike, so that one set of flags starts any of them.
#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Address to listen on; port 0 takes a free one. An actor answers health checks there
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Serve GET /metrics and health checks here, in plain text; port 0 takes a free one, which the log names
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<String>,
    /// Where the learner listens. Actors dial it, and reward-servers that follow their run; the learner accepts and ignores this
    #[arg(long, value_name = "URL")]
    pub(crate) learner: Option<String>,
    /// Where the reward-server listens. Only actors dial it, the other roles accept and ignore this
    #[arg(long, value_name = "URL")]
    pub(crate) reward: Option<String>,
    /// Directory or URL of the run's store. The reward-server accepts and ignores this
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Same bytes for the same seed, at some cost in speed. The learner and the reward-servers need it: actors go by what their
    /// learner says, and refuse a reward-server that does not score every group alone
    #[arg(long)]
    pub(crate) deterministic: bool,
}

/// What the services take that end with their run.
#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// Exit status when it was asked to stop before the run was complete; a Kubernetes Job takes 0 for a finished one
    #[arg(long, value_name = "STATUS", default_value_t = 0)]
    pub(crate) unfinished_status: u8,
}

/// Arguments of `adwright learner`.
#[derive(Debug, Args)]
pub(crate) struct LearnerArgs {
    #[command(flatten)]
    pub(crate) role: RoleArgs,
    #[command(flatten)]
    pub(crate) end: EndArgs,
    /// Directory of the initial policy, or its URL (docs/models.md)
    #[arg(long, value_name = "DIR")]
    pub(crate) policy: Option<String>,
    /// What the adapter's files say it belongs to, when readers will find the policy elsewhere than --policy
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) policy_name: Option<String>,
    /// Directory or URL for the trained adapter; it may hold an earlier one of the same run
    #[arg(long, value_name = "URL")]
    pub(crate) adapter: Option<String>,
    /// Show the run to people on this address, such as 127.0.0.1:7403; port 0 takes a free one (docs/dashboard.md)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) dashboard: Option<String>,
    /// Write the metrics of every optimizer step into this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) steps: Option<PathBuf>,
    /// Write the pairs that are trained on into this directory, in the form of TRL's DPO trainer; earlier ones are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) pairs: Option<PathBuf>,
    /// Write what the run came to into this file at the end
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) summary: Option<PathBuf>,
}

/// Arguments of `adwright actor`.
#[derive(Debug, Args)]
pub(crate) struct ActorArgs {
    #[command(flatten)]
    pub(crate) role: RoleArgs,
    #[command(flatten)]
    pub(crate) end: EndArgs,
    /// Name in the run, which no other actor may have; made from host, process and a random part by default
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Directory for received weights; a temporary one by default
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
}

/// Arguments of `adwright reward-server`.
#[derive(Debug, Args)]
pub(crate) struct RewardServerArgs {
    #[command(flatten)]
    pub(crate) role: RoleArgs,
    #[command(flatten)]
    pub(crate) end: EndArgs,
    /// Directory of the reward model, or its URL (docs/models.md)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
}

/// Arguments of `adwright report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Output directories of demos
    #[arg(value_name = "DIR", required = true)]
    pub(crate) directories: Vec<PathBuf>,
    /// Say whether they reach a goal of docs/results.md, on seven seeds of eight, that of the control on each; exit status 1 when they
    /// do not
    #[arg(long)]
    pub(crate) goal: Option<Goal>,
    /// Output directory of the default's demo of the same seed, for the goals `dpo` and `control`; may be given several times
    #[arg(long, value_name = "DIR", requires = "goal")]
    pub(crate) against: Vec<PathBuf>,
}

/// Seeds that a configuration file can hold.
fn seeds() -> impl clap::builder::TypedValueParser<Value = u64> {
    clap::value_parser!(u64).range(..=i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_defined() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_begins_with_what_the_program_is_for() {
        let help = Cli::command().render_help().to_string();
        let first = help.lines().next().unwrap();
        assert!(first.starts_with("Trains the model that writes"), "{first}");
    }

    #[test]
    fn every_role_takes_every_flag_of_a_role() {
        for role in ["learner", "actor", "reward-server"] {
            let flags = [
                "--config",
                "--set",
                "--listen",
                "--learner",
                "--reward",
                "--store",
                "--device",
            ];
            let flags = flags.iter().flat_map(|&flag| [flag, "x"]);
            let line = ["adwright", role, "--deterministic"].into_iter().chain(flags);
            assert!(Cli::try_parse_from(line).is_ok(), "{role}");
        }
    }

    #[test]
    fn modes_to_compare_are_separated_by_commas() {
        let cli = Cli::try_parse_from(["adwright", "demo", "--compare", "dpo,joint_swap"]).unwrap();
        let Command::Demo(demo) = cli.command else {
            panic!("not a demo")
        };
        assert_eq!(demo.compare, ["dpo", "joint_swap"]);
    }
}

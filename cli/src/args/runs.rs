//! Arguments of the commands that read what a run has left in its store.

use super::ConfigArgs;
use clap::{Args, Subcommand};
use common::PolicyVersion;
use std::path::PathBuf;

/// Where a run has left what it recorded.
#[derive(Debug, Args)]
pub(crate) struct RunPlaceArgs {
    /// The run's store, a directory or a URL such as s3://bucket/prefix; the configuration's `store.url` by default
    #[arg(long, value_name = "URL", required_unless_present_any = ["config", "sets"])]
    pub(crate) store: Option<String>,
    /// The run; the configuration's `run.id` by default
    #[arg(long, value_name = "ID", required_unless_present_any = ["config", "sets"])]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// `adwright ledger ...`
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// How many tasks ended how, and what was trained
    Inspect {
        #[command(flatten)]
        place: RunPlaceArgs,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Every outcome with its pedigree, a line of JSON each, in the order of arrival
    Export {
        #[command(flatten)]
        place: RunPlaceArgs,
    },
}

/// `adwright checkpoint ...`
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// List a run's checkpoints, oldest first
    List(CheckpointsArgs),
    /// Read each one and check its contents
    Verify(CheckpointsArgs),
    /// Bring a whole checkpoint into a directory; a pull that broke off goes on where it was
    Pull(PullArgs),
    /// Write a checkpoint's adapter for other programs: alone in PEFT's layout, or folded into its base
    Export(CheckpointExportArgs),
    /// Let the next start of the learner go on from an earlier checkpoint; one that runs now is stopped
    Rollback(RollbackArgs),
}

/// Arguments of `adwright checkpoint pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) which: CheckpointsArgs,
    /// Its version, such as 2.14; the one that a start would go on from by default
    #[arg(long, value_name = "E.N")]
    pub(crate) version: Option<PolicyVersion>,
    /// Where it goes; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Arguments of `adwright checkpoint export`.
#[derive(Debug, Args)]
pub(crate) struct CheckpointExportArgs {
    #[command(flatten)]
    pub(crate) which: CheckpointsArgs,
    /// Its version, such as 2.14; the one that a start would go on from by default
    #[arg(long, value_name = "E.N")]
    pub(crate) version: Option<PolicyVersion>,
    /// Directory of the policy that the run trains, in any layout, or its URL
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Fold the adapter into the policy; the result has the policy's layout
    #[arg(long)]
    pub(crate) merge: bool,
    /// Directory or URL for it; must not exist or be empty
    #[arg(long, value_name = "URL")]
    pub(crate) out: String,
}

/// Arguments of `adwright checkpoint rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    pub(crate) which: CheckpointsArgs,
    /// The version to go on from, such as 2.14
    #[arg(long, value_name = "E.N")]
    pub(crate) to: PolicyVersion,
}

/// Which checkpoints, and how they are shown.
#[derive(Debug, Args)]
pub(crate) struct CheckpointsArgs {
    #[command(flatten)]
    pub(crate) place: RunPlaceArgs,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

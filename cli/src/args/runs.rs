//! Arguments of the commands that read what a run has left in its store.

use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use common::RunId;

/// Where a run has left what it recorded.
#[derive(Debug, Args)]
pub(crate) struct RunPlaceArgs {
    /// The run's store: a directory or a URL such as file:///var/lib/adwright
    #[arg(long, value_name = "URL")]
    pub(crate) store: String,
    /// The run
    #[arg(long, value_name = "ID")]
    run: String,
}

impl RunPlaceArgs {
    /// The run.
    ///
    /// # Errors
    /// Configuration at fault when it is no name of one.
    pub(crate) fn run(&self) -> Outcome<RunId> {
        RunId::new(self.run.as_str()).context("--run").or_configuration()
    }
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

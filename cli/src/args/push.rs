//! Arguments of the commands that put something where other machines take it by URL.

use super::ConfigArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `adwright model ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Write a model directory to a place from which other machines take it by URL
    Push(PushArgs),
}

/// `adwright catalog ...`
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Write a JSON catalogue and its images to a place from which other machines take it by URL
    Push(PushArgs),
}

/// What goes where.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The model's directory, or the catalogue's file
    #[arg(value_name = "PATH")]
    pub(crate) from: PathBuf,
    /// Where it goes: s3://bucket/prefix, gs://..., az://..., file:///... or a directory; nothing else may be pushed there
    #[arg(value_name = "URL")]
    pub(crate) to: String,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

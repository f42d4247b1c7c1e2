//! Arguments of the commands that look after a job: before it is launched, while it runs, and how it is launched.

use super::{ConfigArgs, Starter};
use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

/// Arguments of `adwright doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Look only at what this role needs; what it needs and does not find is then an error. By default everything is looked at
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Starter>,
    /// Longest time that one check may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `adwright status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Where the learner listens (default: endpoints.learner)
    #[arg(long, value_name = "URL")]
    pub(crate) learner: Option<String>,
    /// Where the reward-server listens (default: endpoints.reward, unless --learner is all that is given)
    #[arg(long, value_name = "URL")]
    pub(crate) reward: Option<String>,
    /// Go on until the run ends or Ctrl-C: redrawn in place on a terminal, a line a reading elsewhere. A learner that
    /// does not answer is waited for, 30 s at most
    #[arg(long)]
    pub(crate) watch: bool,
    /// Seconds between two readings, from which rates are computed
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = intervals)]
    pub(crate) interval: f64,
    /// One JSON object on standard output; with --watch one a reading
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// Arguments of `adwright completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to write for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Arguments of `adwright man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory instead of the first one to standard output
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `adwright launch`.
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// The overlay to build on, a directory of k8s/overlays
    #[arg(long, value_name = "NAME")]
    pub(crate) overlay: String,
    /// Set one key on top of the overlay's configuration, such as learner.versions=100; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Namespace of all objects, instead of the overlay's
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Image of all roles, such as registry.example/adwright:1.2 or ...@sha256:..., instead of the overlay's
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Where the overlay is written; must not exist, be empty, or hold one that launch wrote
    #[arg(long, value_name = "DIR", default_value = "adwright-launch")]
    pub(crate) out: PathBuf,
    /// The manifests to build on: the directory k8s of a checkout, or your own copy of it
    #[arg(long, value_name = "DIR", default_value = "k8s")]
    pub(crate) manifests: PathBuf,
    /// Print the objects that would be applied (needs kubectl) and write nothing
    #[arg(long, conflicts_with = "apply")]
    pub(crate) dry_run: bool,
    /// Also apply what was written (needs kubectl and a cluster)
    #[arg(long)]
    pub(crate) apply: bool,
}

fn intervals(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    match (0.1..=3600.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err("expected 0.1 to 3600 seconds".into()),
    }
}

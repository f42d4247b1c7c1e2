//! Arguments of `adwright config`.

use super::ConfigArgs;
use crate::ready::Role;
use clap::{Subcommand, ValueEnum};

/// `adwright config ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the resolved configuration as TOML
    Print {
        /// With the changes of demo --quick
        #[arg(long)]
        quick: bool,
        /// Only the keys that were set, each with the file or argument that set it last
        #[arg(long)]
        origins: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Say whether a configuration is right: one line, or every mistake with its key and status 64
    Check {
        /// Also what this role would refuse at its start on this machine: device, certificates, models, products, lists, and
        /// places that it writes to, which are tried and left as they were
        #[arg(long, value_name = "ROLE")]
        role: Option<Starter>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print the JSON Schema of the whole configuration
    Schema {
        /// The same as a page for people, docs/configuration.md
        #[arg(long)]
        markdown: bool,
    },
}

/// Whose start can be looked at beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Starter {
    Learner,
    Actor,
    RewardServer,
    /// `adwright evaluate --follow`
    Evaluator,
}

impl Starter {
    /// The service that it is; `None` of one that calls others only.
    pub(crate) fn service(self) -> Option<Role> {
        match self {
            Self::Learner => Some(Role::Learner),
            Self::Actor => Some(Role::Actor),
            Self::RewardServer => Some(Role::RewardServer),
            Self::Evaluator => None,
        }
    }
}

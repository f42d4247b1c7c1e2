//! Arguments of `adwright config`.

use super::ConfigArgs;
use crate::ready::Role;
use clap::Subcommand;

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
        #[arg(long, value_name = "ROLE", value_parser = super::roles())]
        role: Option<Role>,
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

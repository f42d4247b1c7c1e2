//! `adwright config print`: the resolved configuration on standard output.

use crate::args::ConfigCommand;
use crate::config::{Layers, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;

/// Runs the command.
pub(super) fn run(command: &ConfigCommand) -> Outcome<()> {
    let ConfigCommand::Print { quick, config } = command;
    let layers = if *quick {
        Layers::default().preset("--quick", QUICK)
    } else {
        Layers::default()
    };
    let resolved = layers
        .file(config.config.as_deref())
        .sets(&config.sets)
        .resolve()
        .or_configuration()?;
    output::line(resolved.to_toml().trim_end())?;
    Ok(())
}

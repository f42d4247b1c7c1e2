//! `adwright config`: the resolved configuration, whether it is right, and what can be configured.

use crate::args::{ConfigArgs, ConfigCommand, Starter};
use crate::checks::Checks;
use crate::config::{self, Layers, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;

/// Runs the command.
pub(super) fn run(command: &ConfigCommand) -> Outcome<()> {
    match command {
        ConfigCommand::Print {
            quick,
            origins,
            config,
        } => print(*quick, *origins, config),
        ConfigCommand::Check { role, config } => check(*role, config),
        ConfigCommand::Schema { markdown: true } => {
            output::line(config::markdown().trim_end())?;
            Ok(())
        }
        ConfigCommand::Schema { markdown: false } => {
            output::line(&serde_json::to_string_pretty(&config::schema())?)?;
            Ok(())
        }
    }
}

fn print(quick: bool, origins: bool, config: &ConfigArgs) -> Outcome<()> {
    let layers = if quick {
        Layers::default().preset("--quick", QUICK)
    } else {
        Layers::default()
    };
    let layers = layers.files(&config.config).sets(&config.sets);
    let told = layers.origins();
    let resolved = layers.resolve().or_configuration()?;
    match origins {
        true => output::line(told.trim_end())?,
        false => output::line(resolved.to_toml().trim_end())?,
    }
    Ok(())
}

fn check(role: Option<Starter>, given: &ConfigArgs) -> Outcome<()> {
    let layers = Layers::default().files(&given.config).sets(&given.sets);
    let mut checks = Checks::of(layers)?;
    if let Some(role) = role {
        checks.starter(role);
    }
    let config = checks.finish()?;
    let files: Vec<String> = given
        .config
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let source = match files.is_empty() {
        true => "the defaults".to_owned(),
        false => files.join(", "),
    };
    let set = match given.sets.len() {
        0 => String::new(),
        count => format!(" with {count} --set"),
    };
    let part = match role {
        None => "",
        Some(Starter::Learner) => " for a learner",
        Some(Starter::Actor) => " for an actor",
        Some(Starter::RewardServer) => " for a reward-server",
        Some(Starter::Evaluator) => " for an evaluator",
    };
    output::line(&format!(
        "{source}{set}: a right configuration{part}, run {}",
        config.run.id
    ))?;
    Ok(())
}

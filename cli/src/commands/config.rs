//! `adwright config`: the resolved configuration, whether it is right, and what can be configured.

use crate::args::{ConfigArgs, ConfigCommand};
use crate::config::{self, Config, ConfigError, Layers, Mistake, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::ready::Role;
use crate::shop::Shop;
use crate::{locations, output};
use std::path::Path;
use store::HubModel;

/// Runs the command.
pub(super) fn run(command: &ConfigCommand) -> Outcome<()> {
    match command {
        ConfigCommand::Print { quick, config } => print(*quick, config),
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

fn print(quick: bool, config: &ConfigArgs) -> Outcome<()> {
    let layers = if quick {
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

fn check(role: Option<Role>, given: &ConfigArgs) -> Outcome<()> {
    let layers = Layers::default().file(given.config.as_deref()).sets(&given.sets);
    let (config, mut mistakes) = layers.examine();
    if let Some(role) = role
        && mistakes.is_empty()
    {
        mistakes = refused_by(role, &config);
    }
    if !mistakes.is_empty() {
        return Err(ConfigError { mistakes }).or_configuration();
    }
    let source = given
        .config
        .as_ref()
        .map_or("the defaults".into(), |path| path.display().to_string());
    let set = match given.sets.len() {
        0 => String::new(),
        count => format!(" with {count} --set"),
    };
    let part = role
        .map(|role| format!(" for a {}", role.name()))
        .unwrap_or_default();
    output::line(&format!(
        "{source}{set}: a right configuration{part}, run {}",
        config.run.id
    ))?;
    Ok(())
}

/// What the role would refuse before it reads a weight, of what lies on this machine. What a URL leads to is `doctor`'s to say.
fn refused_by(role: Role, config: &Config) -> Vec<Mistake> {
    let placement = config.compute.placement().map(drop).or_configuration();
    let mut checks = vec![("compute", placement)];
    let (policy, reward) = (&config.paths.policy, &config.paths.reward_model);
    match role {
        Role::Learner => {
            checks.push(("paths.policy", local_model(policy, "pretrain")));
            checks.push(("catalogue.source", catalogue(config)));
        }
        Role::RewardServer => checks.push(("paths.reward_model", local_model(reward, "train-reward"))),
        Role::Actor => {}
    }
    let told = |(key, checked): (&str, Outcome<()>)| {
        let failure = checked.err()?;
        Some(Mistake::of_key(None, key, failure.reason()))
    };
    checks.into_iter().filter_map(told).collect()
}

fn local_model(location: &str, made_by: &str) -> Outcome<()> {
    match location.contains("://") || HubModel::is_meant_by(location) {
        true => Ok(()),
        false => locations::check_model(Path::new(location), made_by),
    }
}

fn catalogue(config: &Config) -> Outcome<()> {
    if config.catalogue.source.contains("://") {
        return Ok(());
    }
    let shop = Shop::open(config)?;
    learner::check_catalogue(&config.learner, shop.catalogue.as_ref()).map_err(super::blame_learner)
}

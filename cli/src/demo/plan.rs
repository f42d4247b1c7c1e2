//! What a demo is going to do: arguments and configuration, checked together before anything starts.

use super::earlier::Earlier;
use crate::args::DemoArgs;
use crate::config::{Config, ConfigError, Layers, Mistake, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::shop::Shop;
use actor::Labels;
use anyhow::Context as _;
use learner::{LossConfig, LossMode};
use std::path::{Path, PathBuf};

/// A demo that can be run.
pub(crate) struct Plan {
    /// The resolved configuration; its loss is the first of `losses`.
    pub(crate) config: Config,
    /// The products.
    pub(crate) shop: Shop,
    /// The losses to train with, one a mode, one after the other from one start.
    pub(crate) losses: Vec<LossConfig>,
    /// Whether preference labels are random.
    pub(crate) control: bool,
    /// The demo whose policy and reward model are taken over.
    pub(crate) earlier: Option<Earlier>,
    /// Where results go.
    pub(crate) out: PathBuf,
}

impl Plan {
    /// Resolves arguments and configuration, and checks the catalogue against every mode.
    ///
    /// # Errors
    /// Mistakes of configuration: those of arguments and files all at once, else those of the catalogue.
    pub(crate) fn new(args: &DemoArgs) -> Outcome<Self> {
        let (config, modes) = resolve(args)?;
        let mut losses = vec![];
        for mode in modes {
            // A mode decides the defaults of its weights, so each is resolved on its own.
            let layers = layers(args)?.flag("--compare", "learner.loss.mode", Some(mode.as_str()));
            losses.push(layers.resolve().or_configuration()?.learner.loss);
        }
        if losses.is_empty() {
            losses.push(config.learner.loss.clone());
        }
        let shop = Shop::open(&config)?;
        for loss in &losses {
            learner::check_catalogue(&with_loss(&config, loss).learner, shop.catalogue.as_ref())
                .or_configuration()?;
        }
        let earlier = args.from.as_deref().map(|from| Earlier::open(from, &config));
        let mut plan = Self {
            earlier: earlier.transpose()?,
            shop,
            losses,
            control: config.actor.labels == Labels::Random,
            config,
            out: args.out.clone(),
        };
        plan.config = plan.config_of(&plan.losses[0]);
        Ok(plan)
    }

    /// The configuration of one loss's run, as it is stored: it names what the demo writes, so that other commands can go
    /// on from it.
    pub(crate) fn config_of(&self, loss: &LossConfig) -> Config {
        let run = if self.losses.len() > 1 {
            self.out.join(loss.mode.as_str())
        } else {
            self.out.clone()
        };
        let text = |directory: &Path, name: &str| directory.join(name).display().to_string();
        let mut config = with_loss(&self.config, loss);
        config.paths.policy = text(&self.out, "policy");
        config.paths.reward_model = text(&self.out, "reward-model");
        config.paths.adapter = text(&run, "adapter");
        config.store.url = text(&run, "store");
        config
    }
}

fn with_loss(config: &Config, loss: &LossConfig) -> Config {
    let mut config = config.clone();
    config.learner.loss = loss.clone();
    config
}

/// Configuration and modes to compare, or all mistakes in both.
fn resolve(args: &DemoArgs) -> Outcome<(Config, Vec<LossMode>)> {
    let (config, modes) = (layers(args)?.resolve(), parse_modes(&args.compare));
    let contradictions = contradictions(args, config.as_ref().ok());
    match (config, modes) {
        (Ok(config), Ok(modes)) if contradictions.is_empty() => Ok((config, modes)),
        (config, modes) => {
            let found = [config.err(), modes.err()].into_iter().flatten();
            let mut mistakes: Vec<Mistake> = found.flat_map(|error| error.mistakes).collect();
            mistakes.extend(contradictions);
            Err(ConfigError { mistakes }).or_configuration()
        }
    }
}

/// Settings that would undo what a flag asks for.
fn contradictions(args: &DemoArgs, config: Option<&Config>) -> Vec<Mistake> {
    let mut found = Vec::new();
    if args.control && config.is_some_and(|config| config.actor.labels != Labels::Random) {
        let labels = "actor.labels: --control asks for random labels; leave out the one or the other";
        found.push(Mistake::from_text(labels));
    }
    let sets_mode = |set: &&String| {
        let key = set.split('=').next().unwrap_or_default().trim();
        ["loss.mode", "learner.loss.mode"].contains(&key)
    };
    if !args.compare.is_empty() && args.config.sets.iter().any(|set| sets_mode(&set)) {
        let mode = "learner.loss.mode: --compare names the modes; leave out the one or the other";
        found.push(Mistake::from_text(mode));
    }
    found
}

fn layers(args: &DemoArgs) -> Outcome<Layers> {
    let count = |value: Option<u32>| value.map(i64::from);
    let catalogue = args.catalog.as_ref().map(|path| {
        let path =
            std::path::absolute(path).with_context(|| format!("--catalog {} is no path", path.display()))?;
        anyhow::Ok(path.display().to_string())
    });
    let base = if args.quick {
        Layers::default().preset("--quick", QUICK)
    } else {
        Layers::default()
    };
    Ok(base
        .file(args.config.config.as_deref())
        .flag("--device", "compute.device", args.compute.device.clone())
        .flag("--dtype", "compute.dtype", args.compute.dtype.clone())
        .flag(
            "--seed",
            "run.seed",
            args.seed.and_then(|seed| i64::try_from(seed).ok()),
        )
        .flag("--actors", "demo.actors", count(args.actors))
        .flag("--rounds", "learner.versions", count(args.rounds))
        .flag("--mode", "learner.loss.mode", args.mode.clone())
        .flag("--control", "actor.labels", args.control.then_some("random"))
        .flag(
            "--deterministic",
            "learner.deterministic",
            args.deterministic.then_some(true),
        )
        .flag(
            "--catalog",
            "catalogue.source",
            catalogue.transpose().or_configuration()?,
        )
        .sets(&args.config.sets))
}

fn parse_modes(names: &[String]) -> Result<Vec<LossMode>, ConfigError> {
    let known = LossMode::ALL.map(LossMode::as_str).join(", ");
    let mut mistakes = Vec::new();
    let mut modes: Vec<LossMode> = Vec::new();
    for name in names {
        match LossMode::ALL.into_iter().find(|mode| mode.as_str() == name) {
            Some(mode) if modes.contains(&mode) => {
                mistakes.push(Mistake::value("--compare", format!("{name:?}"), "each mode once"));
            }
            Some(mode) => modes.push(mode),
            None => mistakes.push(Mistake::value(
                "--compare",
                format!("{name:?}"),
                &format!("one of {known}"),
            )),
        }
    }
    if names.len() == 1 {
        mistakes.push(Mistake::value(
            "--compare",
            format!("{:?}", names[0]),
            "two or more modes, such as dpo,joint_swap",
        ));
    }
    if mistakes.is_empty() {
        Ok(modes)
    } else {
        Err(ConfigError { mistakes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> Result<Vec<LossMode>, ConfigError> {
        parse_modes(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn modes_to_compare_are_known_different_and_several() {
        assert_eq!(
            parse(&["dpo", "joint_swap"]).unwrap(),
            [LossMode::Dpo, LossMode::JointSwap]
        );
        assert!(parse(&[]).unwrap().is_empty());
        for (bad, word) in [
            (&["dpo", "ppo"][..], "joint_swap"),
            (&["dpo", "dpo"], "once"),
            (&["dpo"], "two or more"),
        ] {
            let message = parse(bad).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}

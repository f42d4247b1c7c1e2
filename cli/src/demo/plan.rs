//! What a demo is going to do: arguments and configuration, checked together before anything starts.

use super::earlier::Earlier;
use crate::args::DemoArgs;
use crate::config::{Config, ConfigError, Layers, Mistake, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::shop::Shop;
use anyhow::Context as _;
use learner::LossMode;
use std::path::{Path, PathBuf};

/// A demo that can be run.
pub(crate) struct Plan {
    /// The resolved configuration; its mode is the first of `modes`.
    pub(crate) config: Config,
    /// The products.
    pub(crate) shop: Shop,
    /// The modes to train, one after the other from one start.
    pub(crate) modes: Vec<LossMode>,
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
        let modes = parse_modes(&args.compare);
        let config = match (layers(args)?.resolve(), &modes) {
            (Ok(config), Ok(_)) => config,
            (config, modes) => {
                let mistakes = [config.err(), modes.clone().err()]
                    .into_iter()
                    .flatten()
                    .flat_map(|e| e.mistakes);
                return Err(ConfigError {
                    mistakes: mistakes.collect(),
                })
                .or_configuration();
            }
        };
        let mut modes = modes.or_configuration()?;
        if modes.is_empty() {
            modes.push(config.learner.loss.mode);
        }
        let shop = Shop::open(&config)?;
        for &mode in &modes {
            learner::check_catalogue(&with_mode(&config, mode).learner, shop.catalogue.as_ref())
                .or_configuration()?;
        }
        let earlier = args.from.as_deref().map(|from| Earlier::open(from, &config));
        let mut plan = Self {
            earlier: earlier.transpose()?,
            config,
            shop,
            modes,
            control: args.control,
            out: args.out.clone(),
        };
        plan.config = plan.config_of(plan.modes[0]);
        Ok(plan)
    }

    /// Reads both models of an earlier demo, so that a broken one is found before anything is written.
    ///
    /// # Errors
    /// A mistake of configuration that names the file.
    pub(crate) fn check_earlier(&self) -> Outcome<()> {
        self.earlier.as_ref().map_or(Ok(()), Earlier::check_models)
    }

    /// The configuration of one mode's run, as it is stored: it names what the demo writes, so that other commands can go
    /// on from it.
    pub(crate) fn config_of(&self, mode: LossMode) -> Config {
        let run = if self.modes.len() > 1 {
            self.out.join(mode.as_str())
        } else {
            self.out.clone()
        };
        let text = |directory: &Path, name: &str| directory.join(name).display().to_string();
        let mut config = with_mode(&self.config, mode);
        config.paths.policy = text(&self.out, "policy");
        config.paths.reward_model = text(&self.out, "reward-model");
        config.paths.adapter = text(&run, "adapter");
        config.store.url = text(&run, "store");
        config
    }
}

fn with_mode(config: &Config, mode: LossMode) -> Config {
    let mut config = config.clone();
    config.learner.loss.mode = mode;
    config
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

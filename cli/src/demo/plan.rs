//! What a demo is going to do: arguments and configuration, checked together before anything starts.

use super::earlier::Earlier;
use super::output_dir::check_replaceable;
use crate::args::DemoArgs;
use crate::config::{Config, ConfigError, Layers, Mistake, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::shop::{self, Shop};
use actor::{Generator, Labels};
use data::{CaigCatalogue, ImportError};
use learner::{LearnerError, LossConfig, LossMode};
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
    /// Whether it is a part of something else, whose result standard output is for.
    pub(crate) aside: bool,
}

impl Plan {
    /// Resolves arguments and configuration, and checks what they name: catalogue, click log, output, earlier demo.
    ///
    /// # Errors
    /// Mistakes of configuration, all at once as far as they can be told apart.
    pub(crate) fn new(args: &DemoArgs) -> Outcome<Self> {
        let (config, mut mistakes) = layers(args).examine();
        let in_range = mistakes.is_empty();
        let losses = losses(args, &config, &mut mistakes);
        mistakes.extend(contradictions(args, &config));
        let products = match in_range || !config.catalogue.source.contains("://") {
            true => shop::own_products(&config)?,
            // There may be no saying how to ask for it.
            false => None,
        };
        let products = imported(products, config.catalogue.file(), &mut mistakes);
        if let Some(products) = &products {
            mistakes.extend(unsuitable(&config, &losses, products));
        }
        imported(shop::own_corpus(&config), config.corpus.file(), &mut mistakes);
        imported(
            shop::own_click_log(&config),
            config.click_log.file(),
            &mut mistakes,
        );
        if let Err(error) = check_replaceable(&args.out) {
            mistakes.push(Mistake::of_argument(format!("{error:#}")));
        }
        let earlier = args.from.as_deref().and_then(|from| {
            let opened = Earlier::open(from);
            opened
                .map_err(|error| mistakes.push(Mistake::of_argument(format!("{error:#}"))))
                .ok()
        });
        if let Some(earlier) = earlier.as_ref().filter(|_| in_range) {
            mistakes.extend(earlier.differences(&config));
        }
        if !mistakes.is_empty() {
            return Err(ConfigError { mistakes }).or_configuration();
        }
        let mut plan = Self {
            shop: Shop::with_products(&config, products)?,
            earlier,
            losses,
            control: config.actor.labels == Labels::Random,
            config,
            out: args.out.clone(),
            aside: false,
        };
        plan.config = plan.config_of(&plan.losses[0]);
        Ok(plan)
    }

    /// Takes over the policy and the reward model of the demo at `from`, of the same settings but for what this one varies.
    ///
    /// # Errors
    /// When that is no finished demo.
    pub(crate) fn take_over(&mut self, from: &Path) -> Outcome<()> {
        self.earlier = Some(Earlier::open(from).or_configuration()?);
        Ok(())
    }

    /// Reads both models of an earlier demo, so that a broken one is found before anything is written.
    ///
    /// # Errors
    /// A mistake of configuration that names the file.
    pub(crate) fn check_earlier(&self) -> Outcome<()> {
        self.earlier.as_ref().map_or(Ok(()), Earlier::check_models)
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

/// The losses to train with: one a mode to compare, or the configured one.
fn losses(args: &DemoArgs, config: &Config, mistakes: &mut Vec<Mistake>) -> Vec<LossConfig> {
    let modes = parse_modes(&args.compare, mistakes);
    if modes.is_empty() {
        return vec![config.learner.loss.clone()];
    }
    // A mode decides the defaults of its weights, so each is resolved on its own.
    let loss = |mode: LossMode| {
        let layers = layers(args).flag("--compare", "learner.loss.mode", Some(mode.as_str()));
        layers.examine().0.learner.loss
    };
    modes.into_iter().map(loss).collect()
}

/// Settings that would undo what a flag asks for.
fn contradictions(args: &DemoArgs, config: &Config) -> Vec<Mistake> {
    let mut found = Vec::new();
    if args.control && config.actor.labels != Labels::Random {
        let reason = "--control asks for random labels; leave out the one or the other";
        found.push(Mistake::of_key(None, "actor.labels", reason));
    }
    if config.actor.image_generator != Generator::Shopworld {
        let reason = "adwright demo measures the simulated shop's pictures; start the roles one by one, or leave it out";
        found.push(Mistake::of_key(None, "actor.image_generator", reason));
    }
    let sets_mode = |set: &&String| {
        let key = set.split('=').next().unwrap_or_default().trim();
        ["loss.mode", "learner.loss.mode"].contains(&key)
    };
    if !args.compare.is_empty() && args.config.sets.iter().any(|set| sets_mode(&set)) {
        let reason = "--compare names the modes; leave out the one or the other";
        found.push(Mistake::of_key(None, "learner.loss.mode", reason));
    }
    found
}

/// What a file holds, or else its mistakes.
fn imported<T>(
    loaded: Option<Result<T, ImportError>>,
    file: Option<&Path>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let (loaded, file) = loaded.zip(file)?;
    let name = file.display().to_string();
    let note = |error: ImportError| {
        let found = error.mistakes().into_iter();
        mistakes.extend(found.map(|reason| Mistake::of_source(&name, reason)));
    };
    loaded.map_err(note).ok()
}

/// Why a user's products cannot be trained on with these losses.
fn unsuitable(config: &Config, losses: &[LossConfig], products: &CaigCatalogue) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for loss in losses {
        if let Err(error) = learner::check_catalogue(&with_loss(config, loss).learner, products) {
            let reason = match error {
                LearnerError::Catalogue { reason, .. } => reason,
                other => other.to_string(),
            };
            mistakes.push(Mistake::of_source(&config.catalogue.source, reason));
        }
    }
    mistakes.dedup();
    mistakes
}

fn layers(args: &DemoArgs) -> Layers {
    let count = |value: Option<u32>| value.map(i64::from);
    // Only an empty path has no absolute form; the configuration refuses it with the rest.
    let absolute = |path: &PathBuf| match path.to_string_lossy().contains("://") {
        true => path.clone(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
    };
    let catalogue = args
        .catalog
        .as_ref()
        .map(|path| absolute(path).display().to_string());
    let base = if args.quick {
        Layers::default().preset("--quick", QUICK)
    } else {
        Layers::default()
    };
    base.file(args.config.config.as_deref())
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
        .flag("--catalog", "catalogue.source", catalogue)
        .flag("--dashboard", "dashboard.listen", args.dashboard.clone())
        .sets(&args.config.sets)
}

fn parse_modes(names: &[String], mistakes: &mut Vec<Mistake>) -> Vec<LossMode> {
    let known = LossMode::ALL.map(LossMode::as_str).join(", ");
    let mut modes: Vec<LossMode> = Vec::new();
    let mut refuse = |name: &str, expected: &str| {
        mistakes.push(Mistake::value("--compare", format!("{name:?}"), expected));
    };
    for name in names {
        match LossMode::ALL.into_iter().find(|mode| mode.as_str() == name) {
            Some(mode) if modes.contains(&mode) => refuse(name, "each mode once"),
            Some(mode) => modes.push(mode),
            None => refuse(name, &format!("one of {known}")),
        }
    }
    if names.len() == 1 {
        refuse(&names[0], "two or more modes, such as dpo,joint_swap");
    }
    modes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> (Vec<LossMode>, Vec<Mistake>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut mistakes = Vec::new();
        let modes = parse_modes(&names, &mut mistakes);
        (modes, mistakes)
    }

    #[test]
    fn modes_to_compare_are_known_different_and_several() {
        assert_eq!(
            parse(&["dpo", "joint_swap"]),
            (vec![LossMode::Dpo, LossMode::JointSwap], vec![])
        );
        assert_eq!(parse(&[]), (vec![], vec![]));
        for (bad, word) in [
            (&["dpo", "ppo"][..], "joint_swap"),
            (&["dpo", "dpo"], "once"),
            (&["dpo"], "two or more"),
        ] {
            let message = parse(bad).1[0].to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}

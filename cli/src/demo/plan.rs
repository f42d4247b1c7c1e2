//! What a demo is going to do: arguments and configuration, checked together before anything starts.

use super::earlier::Earlier;
use super::output_dir::check_replaceable;
use crate::args::DemoArgs;
use crate::config::{Config, ConfigError, Layers, Mistake, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::shop::{self, Shop};
use data::{CaigCatalogue, ImportError};
use learner::{LearnerError, LossMode};
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
    /// Resolves arguments and configuration, and checks what they name: catalogue, click log, output, earlier demo.
    ///
    /// # Errors
    /// Mistakes of configuration, all at once as far as they can be told apart.
    pub(crate) fn new(args: &DemoArgs) -> Outcome<Self> {
        let (config, mut mistakes) = layers(args).examine();
        let in_range = mistakes.is_empty();
        let mut modes = parse_modes(&args.compare, &mut mistakes);
        if modes.is_empty() {
            modes.push(config.learner.loss.mode);
        }
        let products = imported(
            shop::own_products(&config),
            config.catalogue.file(),
            &mut mistakes,
        );
        if let Some(products) = &products {
            mistakes.extend(unsuitable(&config, &modes, products));
        }
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
            config,
            modes,
            control: args.control,
            out: args.out.clone(),
        };
        plan.config = plan.config_of(plan.modes[0]);
        Ok(plan)
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

/// Why a user's products cannot be trained on in these modes.
fn unsuitable(config: &Config, modes: &[LossMode], products: &CaigCatalogue) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for &mode in modes {
        if let Err(error) = learner::check_catalogue(&with_mode(config, mode).learner, products) {
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
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
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

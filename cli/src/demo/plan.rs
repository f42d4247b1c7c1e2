//! What a demo is going to do: arguments and configuration, checked together before anything starts.

use super::earlier::Earlier;
use super::{foreseen, output_dir};
use crate::args::DemoArgs;
use crate::checks::Checks;
use crate::config::{Config, Layers, Mistake, QUICK};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::shop::Shop;
use actor::{Generator, Labels};
use anyhow::Context as _;
use learner::{LossConfig, LossMode};
use std::path::{Path, PathBuf};

/// A demo that can be run.
#[derive(Clone)]
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
    /// Resolves arguments and configuration, and checks everything that stages and roles would refuse.
    ///
    /// # Errors
    /// Mistakes of configuration, all at once; when the products cannot be brought here.
    pub(crate) fn new(args: &DemoArgs) -> Outcome<Self> {
        let mut checks = Checks::of(layers(args))?;
        let losses = losses(args, &mut checks);
        contradictions(args, &mut checks);
        checks.argument(output_dir::check(&args.out));
        let earlier = earlier(args, &mut checks);
        let shop = foreseen::in_stages(&mut checks, earlier.as_ref(), &losses);
        foreseen::in_roles(&mut checks);
        let config = checks.finish()?;
        let mut plan = Self {
            shop: shop.context("products were neither read nor refused")?,
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

    /// The same demo with another bound of staleness and another place for its results.
    ///
    /// # Errors
    /// A mistake of configuration when nothing can be put into that place.
    pub(crate) fn with_staleness(&self, bound: u64, out: PathBuf) -> Outcome<Self> {
        output_dir::check(&out)?;
        let mut plan = self.clone();
        plan.out = out;
        plan.config.learner.max_staleness = bound;
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
fn losses(args: &DemoArgs, checks: &mut Checks) -> Vec<LossConfig> {
    let (modes, mistakes) = parse_modes(&args.compare);
    mistakes.into_iter().for_each(|mistake| checks.note(mistake));
    if modes.is_empty() {
        return vec![checks.config().learner.loss.clone()];
    }
    // A mode decides the defaults of its weights, so each is resolved on its own.
    let loss = |mode: LossMode| {
        let layers = layers(args).flag("--compare", "learner.loss.mode", Some(mode.as_str()));
        layers.examine().0.learner.loss
    };
    modes.into_iter().map(loss).collect()
}

/// The demo whose models are taken over, of the same settings but for what this one varies.
fn earlier(args: &DemoArgs, checks: &mut Checks) -> Option<Earlier> {
    let opened = Earlier::open(args.from.as_deref()?).or_configuration();
    let earlier = checks.argument(opened)?;
    if checks.in_range() {
        let differences = earlier.differences(checks.config());
        differences.into_iter().for_each(|mistake| checks.note(mistake));
    }
    Some(earlier)
}

/// Settings that would undo what a flag asks for, or that a demo has no use for.
fn contradictions(args: &DemoArgs, checks: &mut Checks) {
    let config = checks.config();
    let mut found = Vec::new();
    if args.control && config.actor.labels != Labels::Random {
        let reason = "--control asks for random labels; leave out the one or the other";
        found.push(("actor.labels", reason));
    }
    if config.actor.image_generator != Generator::Shopworld {
        let reason = "adwright demo measures the simulated shop's pictures; start the roles one by one, or leave it out";
        found.push(("actor.image_generator", reason));
    }
    if config.tls.is_set() {
        let reason = "the roles of adwright demo speak in plain text, on this machine alone; start the roles one by one, or leave it out";
        found.push(("tls.cert", reason));
    }
    let sets_mode = |set: &&String| {
        let key = set.split('=').next().unwrap_or_default().trim();
        ["loss.mode", "learner.loss.mode"].contains(&key)
    };
    if !args.compare.is_empty() && args.config.sets.iter().any(|set| sets_mode(&set)) {
        let reason = "--compare names the modes; leave out the one or the other";
        found.push(("learner.loss.mode", reason));
    }
    for (key, reason) in found {
        checks.note(Mistake::of_key(None, key, reason));
    }
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
    base.files(&args.config.config)
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

/// The modes of these names, and what is wrong with the names.
fn parse_modes(names: &[String]) -> (Vec<LossMode>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
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
    (modes, mistakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> (Vec<LossMode>, Vec<Mistake>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        parse_modes(&names)
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

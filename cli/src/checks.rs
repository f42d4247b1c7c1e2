//! What can be known to be wrong before a process takes anything from others, writes or computes anything: all of it is looked for, and
//! told at once, each thing by its flag or key.
//!
//! A role asks at its start ([`start`](crate::start)), `config check` and `doctor` before one, `demo` of all its roles before its stages,
//! each training command before it trains, and each that asks a model before it reads its weights. The questions are the same; what only
//! the crate of a role can answer is asked there.

mod addresses;
mod places;
mod roles;
mod sources;

pub(crate) use addresses::{listen, listens};
pub(crate) use roles::{ActorFlags, LearnerFlags, Process};

use crate::config::{Config, ConfigError, Layers, Mistake};
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use std::fmt;

/// What was looked at so far, and what is wrong.
pub(crate) struct Checks {
    /// What says where a key was set.
    layers: Layers,
    config: Config,
    in_range: bool,
    mistakes: Vec<Mistake>,
    /// Whether any of it is for the user to put right, and not only for the machine.
    configuration: bool,
}

impl Checks {
    /// Begins with what the layers of a configuration say of themselves.
    ///
    /// # Errors
    /// All that is wrong with them, when a layer cannot be read as a whole: what it names is not known then, and to look at what the
    /// defaults name would mislead.
    pub(crate) fn of(layers: Layers) -> Outcome<Self> {
        let (config, mistakes) = layers.examine();
        if mistakes.iter().any(|mistake| mistake.is_of("")) {
            return Err(ConfigError { mistakes }).or_configuration();
        }
        Ok(Self {
            layers,
            config,
            in_range: mistakes.is_empty(),
            configuration: !mistakes.is_empty(),
            mistakes,
        })
    }

    /// Begins with a configuration that was resolved.
    pub(crate) fn on(config: Config) -> Self {
        Self {
            layers: Layers::default(),
            config,
            in_range: true,
            mistakes: vec![],
            configuration: false,
        }
    }

    /// The configuration, as far as it can be read.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether every key of the configuration can be used as it is: what is computed from many of them is only looked at then.
    pub(crate) fn in_range(&self) -> bool {
        self.in_range
    }

    /// Whether nothing was found so far.
    pub(crate) fn are_passed(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Whether something is wrong with this key already: the same is not told twice in other words.
    pub(crate) fn has_mistake(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.is_of(key))
    }

    /// Looks at what a key names. `None` when that is wrong, now or already.
    pub(crate) fn look<T>(&mut self, key: &str, looked: impl FnOnce(&Config) -> Outcome<T>) -> Option<T> {
        if self.has_mistake(key) {
            return None;
        }
        let failure = match looked(&self.config) {
            Ok(fine) => return Some(fine),
            Err(failure) => failure,
        };
        let mistake = Mistake::told_of(key, &failure.reason());
        match failure {
            Failure::Configuration(_) => self.note(mistake),
            Failure::Run(_) | Failure::Unfinished(_) => self.add(mistake),
        }
        None
    }

    /// Looks at what an argument names that is no key; what is wrong names the argument.
    pub(crate) fn argument<T>(&mut self, looked: Outcome<T>) -> Option<T> {
        let note = |failure: Failure| self.note(Mistake::of_argument(failure.reason()));
        looked.map_err(note).ok()
    }

    /// Notes something for the user to put right.
    pub(crate) fn note(&mut self, mistake: Mistake) {
        self.configuration = true;
        self.add(mistake);
    }

    fn add(&mut self, mistake: Mistake) {
        let located = self.layers.locate(mistake);
        if !self.mistakes.contains(&located) {
            self.mistakes.push(located);
        }
    }

    /// What is wrong.
    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    /// The configuration, when nothing is wrong.
    ///
    /// # Errors
    /// All that is wrong: a mistake of configuration, but where the machine alone is at fault, which another moment may put right.
    pub(crate) fn finish(self) -> Outcome<Config> {
        let mistakes = self.mistakes;
        match (mistakes.is_empty(), self.configuration) {
            (true, _) => Ok(self.config),
            (false, true) => Err(ConfigError { mistakes }).or_configuration(),
            (false, false) => Err(Failure::Run(CannotStart { mistakes }.into())),
        }
    }
}

/// Nothing is wrong with what was asked for, and this machine cannot do it now.
#[derive(Debug)]
struct CannotStart {
    mistakes: Vec<Mistake>,
}

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot start here")?;
        self.mistakes
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for CannotStart {}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    fn wrong(reason: &str) -> Outcome<()> {
        Err(anyhow!("{reason}")).or_configuration()
    }

    fn away(reason: &str) -> Outcome<()> {
        Err(Failure::Run(anyhow!("{reason}")))
    }

    #[test]
    fn everything_is_told_at_once_by_what_set_it_and_nothing_twice() {
        let layers = Layers::default().flag("--actors", "demo.actors", Some(0)).flag(
            "--policy",
            "paths.policy",
            Some("nowhere"),
        );
        let mut checks = Checks::of(layers).unwrap();
        assert!(!checks.in_range());
        assert_eq!(checks.look("demo.actors", |_| wrong("no number")), None);
        for _ in 0..2 {
            checks.look("paths.policy", |_| wrong("paths.policy: not there"));
        }
        checks.argument(wrong("--steps: not there"));
        let message = checks.finish().unwrap_err().to_string();
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(
            lines[1..],
            [
                "  --actors: demo.actors = 0: expected 1 to 64",
                "  --policy: paths.policy: not there",
                "  --steps: not there",
            ]
        );
    }

    #[test]
    fn nothing_is_looked_at_by_a_configuration_that_cannot_be_read() {
        let sets = ["run.seed", "demo.actors=0"].map(str::to_owned);
        let message = Checks::of(Layers::default().sets(&sets))
            .err()
            .unwrap()
            .to_string();
        assert!(
            message.contains("2 mistakes") && message.contains("expected key=value"),
            "{message}"
        );
    }

    #[test]
    fn the_machine_alone_is_blamed_when_nothing_else_is_wrong() {
        let mut checks = Checks::on(Config::default());
        assert!(
            checks
                .look("endpoints.learner_listen", |_| away("taken"))
                .is_none()
        );
        let failure = checks.finish().unwrap_err();
        assert!(matches!(failure, Failure::Run(_)), "{failure}");
        assert!(failure.to_string().contains("endpoints.learner_listen: taken"));
        let mut checks = Checks::on(Config::default());
        checks.look("endpoints.learner_listen", |_| away("taken"));
        checks.look("paths.policy", |_| wrong("not there"));
        assert!(matches!(checks.finish(), Err(Failure::Configuration(_))));
    }

    #[test]
    fn what_is_right_comes_back() {
        let mut checks = Checks::on(Config::default());
        assert_eq!(checks.look("run.seed", |config| Ok(config.run.seed)), Some(1));
        assert!(checks.are_passed() && checks.finish().is_ok());
    }
}

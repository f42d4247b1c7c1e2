//! The configuration of a run: one TOML file, a table per part, defaults that run the demo.
//!
//! Layers are applied in order: defaults, a preset (`demo --quick`), a file, dedicated flags such as `--seed`, then
//! `--set key=value`. Mistakes of all layers are reported together, each with its key and what would be right.
//! The tables of the services are defined by their crates; this file joins them and says nothing of what they mean.

mod document;
mod mistake;
mod tables;

pub(crate) use mistake::{ConfigError, Mistake};
pub(crate) use tables::{
    CatalogueConfig, ComputeConfig, DemoConfig, EndpointsConfig, PathsConfig, PolicyConfig, RunConfig,
    Stages, StoreConfig,
};

use document::Document;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The changes `adwright demo --quick` makes to the defaults.
pub(crate) const QUICK: &str = include_str!("../../configs/quick.toml");

/// Everything a run is configured with. `adwright config print` shows it; each run stores it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Name and seed of the run.
    pub(crate) run: RunConfig,
    /// Where and with how many threads a process computes.
    pub(crate) compute: ComputeConfig,
    /// The products.
    pub(crate) catalogue: CatalogueConfig,
    /// Directories of models.
    pub(crate) paths: PathsConfig,
    /// Where bulk bytes go.
    pub(crate) store: StoreConfig,
    /// Who listens and dials where.
    pub(crate) endpoints: EndpointsConfig,
    /// The simulated shop.
    pub(crate) shopworld: shopworld::ShopWorldConfig,
    /// The policy's shape.
    pub(crate) policy: PolicyConfig,
    /// Stage A.
    pub(crate) pretrain: learner::PretrainConfig,
    /// Stage B.
    pub(crate) reward: reward_server::RewardConfig,
    /// Stage C: scoring.
    pub(crate) reward_server: reward_server::RewardServerConfig,
    /// Stage C: training.
    pub(crate) learner: learner::LearnerConfig,
    /// Stage C: sampling.
    pub(crate) actor: actor::ActorConfig,
    /// `adwright demo` itself.
    pub(crate) demo: DemoConfig,
}

impl Config {
    /// Every value that is out of range or does not fit another one.
    fn mistakes(&self) -> Vec<Mistake> {
        let texts = |problems: Option<Vec<String>>| -> Vec<Mistake> {
            problems
                .unwrap_or_default()
                .iter()
                .map(|text| Mistake::from_text(text))
                .collect()
        };
        let tables = [
            ("run", self.run.mistakes()),
            ("compute", self.compute.mistakes()),
            ("endpoints", self.endpoints.mistakes()),
            (
                "shopworld",
                texts(self.shopworld.validate().err().map(|e| e.problems)),
            ),
            ("policy", self.policy.mistakes()),
            (
                "pretrain",
                texts(self.pretrain.validate().err().map(|e| e.problems)),
            ),
            ("reward", texts(self.reward.validate().err().map(|e| e.problems))),
            (
                "reward_server",
                texts(self.reward_server.validate().err().map(|e| e.problems)),
            ),
            (
                "learner",
                texts(self.learner.validate().err().map(|e| e.problems)),
            ),
            ("actor", texts(self.actor.validate().err().map(|e| e.problems))),
            ("demo", self.demo.mistakes()),
        ];
        tables
            .into_iter()
            .flat_map(|(table, found)| found.into_iter().map(|m| m.within(table)))
            .collect()
    }

    /// The resolved configuration as TOML.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every table of the configuration has a TOML form")
    }
}

/// Collects the layers of a configuration and resolves them.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    document: Document,
    mistakes: Vec<Mistake>,
}

impl Layers {
    /// Adds a preset that comes with the program.
    #[must_use]
    pub(crate) fn preset(mut self, name: &str, text: &str) -> Self {
        self.add(name, text);
        self
    }

    /// Adds a file, if one is given. A file that cannot be read is one of the mistakes.
    #[must_use]
    pub(crate) fn file(mut self, path: Option<&Path>) -> Self {
        let Some(path) = path else { return self };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.add(&name, &text),
            Err(error) => self.mistakes.push(Mistake::of_source(
                &name,
                format!("cannot read the file: {error}"),
            )),
        }
        self
    }

    /// Adds a dedicated flag's value, if one is given.
    #[must_use]
    pub(crate) fn flag(mut self, flag: &str, key: &str, value: Option<impl Into<toml::Value>>) -> Self {
        if let Some(value) = value {
            self.document.insert(flag, key, value.into());
        }
        self
    }

    /// Adds `--set key=value` arguments. A value that is no TOML is taken as text, so that quotes are not needed.
    #[must_use]
    pub(crate) fn sets(mut self, assignments: &[String]) -> Self {
        for assignment in assignments {
            let origin = format!("--set {assignment}");
            match assignment.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    self.document
                        .insert(&origin, key.trim(), parse_value(value.trim()));
                }
                _ => self
                    .mistakes
                    .push(Mistake::of_source(&origin, "expected key=value".into())),
            }
        }
        self
    }

    /// The resolved configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake of every layer.
    pub(crate) fn resolve(mut self) -> Result<Config, ConfigError> {
        let (config, mut mistakes) = self.document.resolve();
        mistakes.extend(
            config
                .mistakes()
                .into_iter()
                .map(|mistake| self.document.locate(mistake)),
        );
        self.mistakes.extend(mistakes);
        if self.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError {
                mistakes: self.mistakes,
            })
        }
    }

    fn add(&mut self, name: &str, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => self.document.merge(name, table),
            Err(error) => self
                .mistakes
                .push(Mistake::of_source(name, syntax_error(text, &error))),
        }
    }
}

fn parse_value(text: &str) -> toml::Value {
    let parsed = format!("value = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{place}not valid TOML: {}", error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, sets: &[&str]) -> Result<Config, ConfigError> {
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        Layers::default().preset("test.toml", text).sets(&sets).resolve()
    }

    fn messages(text: &str, sets: &[&str]) -> Vec<String> {
        resolve(text, sets)
            .unwrap_err()
            .mistakes
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(resolve("", &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_printed_configuration_is_read_back_unchanged() {
        let config = resolve(
            "[run]\nseed = 9\n[shopworld]\nlog_match = 0.5\n",
            &["demo.actors=3"],
        )
        .unwrap();
        assert_eq!(resolve(&config.to_toml(), &[]).unwrap(), config);
    }

    #[test]
    fn later_layers_win() {
        let config = Layers::default()
            .preset("a", "[run]\nseed = 1\nid = \"a\"")
            .flag("--seed", "run.seed", Some(2))
            .sets(&["run.seed=3".into()])
            .resolve()
            .unwrap();
        assert_eq!((config.run.seed, config.run.id.as_str()), (3, "a"));
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_key_and_origin() {
        let text = "[run]\nsede = 4\nseed = \"four\"\n[shopworld]\nlog_match = 3\n[nothing]\nx = 1\n";
        let found = messages(text, &["demo.actors=0", "compute.threads=none", "no-equals-sign"]);
        let expected = [
            ("no-equals-sign", "key=value"),
            ("test.toml: run.sede", "run.seed"),
            ("test.toml: run.seed", "u64"),
            ("test.toml: nothing", "unknown"),
            ("test.toml: shopworld.log_match = 3", "from 0 to 1"),
            ("--set demo.actors=0: demo.actors", "1"),
            ("--set compute.threads=none: compute.threads", "usize"),
        ];
        for (key, right) in expected {
            let hit = found.iter().any(|m| m.contains(key) && m.contains(right));
            assert!(hit, "{key:?} with {right:?} is not in {found:#?}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn a_mode_decides_the_weights_that_nobody_set() {
        let weights = |text: &str, sets: &[&str]| {
            let loss = resolve(text, sets).unwrap().learner.loss;
            (loss.mode.as_str(), loss.beta, loss.pcpo_weight, loss.nll_weight)
        };
        assert_eq!(weights("", &["loss.mode=compat"]), ("compat", 0.5, 1.0, 0.0));
        assert_eq!(weights("", &["loss.mode=dpo"]), ("dpo", 1.0, 1.5, 10.0));
        let file = "[learner.loss]\nbeta = 0.7\nmask.ratio = 0.5\n";
        assert_eq!(weights(file, &["loss.mode=compat"]), ("compat", 0.7, 1.0, 0.0));
        // A stored configuration names every weight.
        let stored = resolve("", &["loss.mode=compat"]).unwrap();
        assert_eq!(resolve(&stored.to_toml(), &[]).unwrap(), stored);
        let wrong = messages(file, &["loss.mode=ppo", "loss.beta=-1"]);
        assert!(
            wrong.len() == 2 && wrong.iter().any(|m| m.contains("joint_swap")),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_syntax_error_names_file_and_line() {
        let found = messages("[run]\nseed = \n", &[]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("test.toml: line 2: not valid TOML"),
            "{found:?}"
        );
    }

    #[test]
    fn text_needs_no_quotes_on_the_command_line() {
        let config = resolve("", &["run.id=night-7", "paths.policy = /models/base model"]).unwrap();
        assert_eq!(
            (config.run.id.as_str(), config.paths.policy.as_str()),
            ("night-7", "/models/base model")
        );
    }

    #[test]
    fn the_shipped_files_are_valid_and_demo_toml_is_the_default() {
        let demo = include_str!("../../configs/demo.toml");
        let resolved = resolve(demo, &[]).unwrap();
        assert_eq!(resolved, Config::default());
        for (name, text) in [
            ("quick", QUICK),
            ("caig", include_str!("../../configs/caig.toml")),
        ] {
            // A machine without a GPU checks the rest.
            let resolved = resolve(text, &["compute.device=cpu"]);
            assert!(resolved.is_ok(), "{name}: {}", resolved.unwrap_err());
        }
    }

    #[test]
    fn demo_toml_shows_every_key() {
        let shown: toml::Table = include_str!("../../configs/demo.toml").parse().unwrap();
        let all: toml::Table = Config::default().to_toml().parse().unwrap();
        assert_eq!(document::leaves(&shown), document::leaves(&all));
    }
}

//! The configuration of a run: TOML files, a table per part, defaults that run the demo.
//!
//! Layers are applied key by key, in order: defaults, a preset (`demo --quick`), files as they were given, dedicated flags such
//! as `--seed`, then `--set key=value`. Mistakes of all layers are reported together, each with its key and what would be right.
//! The tables of the services are defined by their crates; this file joins them and says nothing of what they mean.

mod deciding;
mod document;
mod files;
mod mistake;
mod schema;
mod tables;

pub(crate) use mistake::{ConfigError, Mistake};
pub(crate) use schema::{markdown, schema};
pub(crate) use tables::{
    CatalogueConfig, ClickLogConfig, ComputeConfig, CorpusConfig, DemoConfig, EndpointsConfig, LogFormat,
    PathsConfig, PolicyConfig, RunConfig, Stages, StoreConfig, TelemetryConfig, TlsConfig,
};

use common::RunId;
use document::Document;
use proto::RoleName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The changes `adwright demo --quick` makes to the defaults.
pub(crate) const QUICK: &str = include_str!("../../configs/quick.toml");

/// Everything a run is configured with. `adwright config print` shows it; each run stores it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Name and seed of the run.
    pub(crate) run: RunConfig,
    /// Where and with how many threads a process computes.
    pub(crate) compute: ComputeConfig,
    /// The products.
    pub(crate) catalogue: CatalogueConfig,
    /// The texts and pictures of stage A.
    pub(crate) corpus: CorpusConfig,
    /// The clicks.
    pub(crate) click_log: ClickLogConfig,
    /// Directories of models.
    pub(crate) paths: PathsConfig,
    /// Where bulk bytes go.
    pub(crate) store: StoreConfig,
    /// Who listens and dials where.
    pub(crate) endpoints: EndpointsConfig,
    /// How the roles prove who they are.
    pub(crate) tls: TlsConfig,
    /// How a process is watched.
    pub(crate) telemetry: TelemetryConfig,
    /// Where people look at the run.
    pub(crate) dashboard: dashboard::DashboardConfig,
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
    /// The image generator that paints.
    pub(crate) diffusion: actor::DiffusionConfig,
    /// `adwright demo` itself.
    pub(crate) demo: DemoConfig,
}

impl Config {
    /// Every value that is out of range or does not fit another one.
    fn mistakes(&self) -> Vec<Mistake> {
        let tables = [
            ("run", self.run.validate()),
            ("compute", self.compute.validate()),
            ("catalogue", self.catalogue.validate()),
            ("corpus", self.corpus.validate()),
            ("click_log", self.click_log.validate()),
            ("paths", self.paths.validate()),
            ("store", self.store.validate()),
            ("endpoints", self.endpoints.validate()),
            ("tls", self.tls.validate()),
            ("telemetry", self.telemetry.validate()),
            ("dashboard", self.dashboard.validate()),
            ("shopworld", self.shopworld.validate()),
            ("policy", self.policy.validate()),
            ("pretrain", self.pretrain.validate()),
            ("reward", self.reward.validate()),
            ("reward_server", self.reward_server.validate()),
            ("learner", self.learner.validate()),
            ("actor", self.actor.validate()),
            ("diffusion", self.diffusion.validate()),
            ("demo", self.demo.validate()),
        ];
        let mut mistakes = Vec::new();
        for (table, checked) in tables {
            let found = checked.err().map(|error| error.problems).unwrap_or_default();
            mistakes.extend(found.iter().map(|problem| Mistake::within(table, problem)));
        }
        // A name that is none is told by its table.
        if let Ok(run) = RunId::new(self.run.id.as_str())
            && self.tls.is_set()
            && let Err(error) = RoleName::check_certifiable(&run)
        {
            mistakes.push(Mistake::of_key(None, "run.id", error.to_string()));
        }
        for (key, found, wanted) in self.endpoints.disagreements(self.tls.is_set()) {
            let reason = format!("found {found}, expected {wanted}");
            mistakes.push(Mistake::of_key(None, &format!("endpoints.{key}"), reason));
        }
        mistakes
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

    /// Adds files and directories of them, each on top of those before it. One that cannot be read is one of the mistakes.
    #[must_use]
    pub(crate) fn files(mut self, paths: &[PathBuf]) -> Self {
        for path in paths {
            match files::files(path) {
                Ok(files) => self = files.iter().fold(self, |layers, file| layers.file(file)),
                Err(reason) => {
                    let name = path.display().to_string();
                    self.mistakes.push(Mistake::of_source(&name, reason));
                }
            }
        }
        self
    }

    /// Adds a file. One that cannot be read is one of the mistakes.
    #[must_use]
    pub(crate) fn file(mut self, path: &Path) -> Self {
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
    pub(crate) fn resolve(self) -> Result<Config, ConfigError> {
        match self.examine() {
            (config, mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(ConfigError { mistakes }),
        }
    }

    /// The configuration as far as it can be read, and every mistake of every layer. A key of an unknown name or a wrong type
    /// keeps its default; a value out of range stays.
    pub(crate) fn examine(&self) -> (Config, Vec<Mistake>) {
        let (config, unreadable) = self.document.resolve();
        let out_of_range = config.mistakes();
        let located = out_of_range.into_iter().map(|mistake| self.locate(mistake));
        let mistakes = self.mistakes.iter().cloned().chain(unreadable).chain(located);
        (config, mistakes.collect())
    }

    /// The same mistake with what set its key, unless it says where it is from.
    pub(crate) fn locate(&self, mistake: Mistake) -> Mistake {
        match mistake.origin {
            None => self.document.locate(mistake),
            Some(_) => mistake,
        }
    }

    /// The keys that were set, a line each with its value and what set it last; as TOML, if they are right. Mistakes are not looked for.
    pub(crate) fn origins(&self) -> String {
        self.document.origins()
    }

    /// The keys that were set, in full, as a table. Mistakes are not looked for.
    pub(crate) fn given(&self) -> toml::Table {
        self.document.given()
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
mod tests;

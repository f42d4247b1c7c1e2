//! The tables that belong to the command line itself; the services define theirs.

mod demo;
mod endpoints;
mod sources;
mod store;
mod telemetry;
mod tls;

pub(crate) use demo::{DemoConfig, Stages};
pub(crate) use endpoints::EndpointsConfig;
pub(crate) use sources::{CatalogueConfig, ClickLogConfig, CorpusConfig};
pub(crate) use store::StoreConfig;
pub(crate) use telemetry::{LogFormat, TelemetryConfig};
pub(crate) use tls::TlsConfig;

use crate::locations::is_url;
use ::store::HubModel;
use common::{InvalidConfig, SettingsCheck};
use models::ModelError;
use models::device::{Placement, parse_device};
use models::policy::PolicyReading;
use models::presets::Preset;
use models::processor::Transparency;
use models::template::PromptTemplate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[run]`: name and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunConfig {
    /// Name of the run: letters, digits, `.`, `_` and `-`. It is part of object keys. Default `demo`. An actor takes part
    /// in whichever run its learner serves; where no learner answers, it looks in `store.url` whether this one is over, at
    /// `learner.versions` or more.
    pub(crate) id: String,
    /// Seed of everything: world, initial weights, order, sampling, evaluation. 0 to 2^63 - 1. Default 1.
    pub(crate) seed: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            id: "demo".into(),
            seed: 1,
        }
    }
}

impl RunConfig {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        if let Err(error) = common::RunId::new(self.id.as_str()) {
            check.note("id", &self.id, error.reason);
        }
        check.finish()
    }
}

/// `[compute]`: where and with how many threads each process computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ComputeConfig {
    /// `cpu`, `cuda` or `cuda:N`. Default `cpu`.
    pub(crate) device: String,
    /// Number format of networks whose weights are read and not trained: `f32` or `bf16`; weights in another are converted
    /// when they are read. With `bf16` a policy takes half the memory, on a GPU also less time (a CPU computes it slowly, by
    /// way of f32); the adapter is trained in f32 all the same, and so are the policies and reward models that `pretrain` and
    /// `train-reward` make from nothing. Default `f32`.
    pub(crate) dtype: String,
    /// Threads of one process: micro-batches in parallel and the kernels' pool. 1 to 1024. Default 2. Results are
    /// promised to repeat per thread count. `adwright demo` sets it for each of its processes from `demo.threads`.
    pub(crate) threads: usize,
}

impl Default for ComputeConfig {
    fn default() -> Self {
        Self {
            device: "cpu".into(),
            dtype: "f32".into(),
            threads: 2,
        }
    }
}

impl ComputeConfig {
    /// The device and the number format on it. Reaches for the device's driver.
    ///
    /// # Errors
    /// [`ModelError`] for a device that is not there or that does not compute in the format.
    pub(crate) fn placement(&self) -> Result<Placement, ModelError> {
        Placement::parse(&self.device, &self.dtype)
    }

    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        if let Err(error) = parse_device(&self.device) {
            let reason = match error {
                ModelError::Device { reason, .. } => reason,
                other => other.to_string(),
            };
            check.note("device", &self.device, reason);
        }
        // Whether the device computes in it is asked of the device.
        check.require(
            ["f32", "bf16"].contains(&self.dtype.as_str()),
            "dtype",
            &self.dtype,
            "f32 or bf16",
        );
        check.within("threads", self.threads, 1..=1024, "");
        check.finish()
    }
}

/// `[policy]`: the policy's shape, for stage A.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PolicyConfig {
    /// `tiny` (half a million parameters): the only shape that is trained from nothing; a larger policy is loaded from
    /// `paths.policy`. Default `tiny`.
    pub(crate) preset: String,
    /// Directory of the policy that stage A starts from (`pretrain --model`), in any layout; empty for a fresh one of the
    /// preset. An adapter (`pretrain.lora`) is trained beside it and folded in; the result has the layout that was read.
    /// Default empty.
    pub(crate) base: String,
    /// The words around an instruction wherever a policy is loaded, in stages A and C and in every command that asks one: `own`, `vicuna_v1`, `short`, or a
    /// text with one `<image>` and, behind it, one `{instruction}`. The learner hands it on to actors. Default `own`: what
    /// the policy's directory says, which for LLaVA checkpoints is `vicuna_v1`.
    pub(crate) template: String,
    /// What is seen where a product's picture is transparent: `own`, `mean_colour`, or `dropped` (whatever colour lies under
    /// it, as in CAIG's code). Default `own`: what the directory says, which for checkpoints of others is `mean_colour`.
    pub(crate) transparency: TransparencyChoice,
}

/// What is seen where a product's picture is transparent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TransparencyChoice {
    /// What the policy's directory says.
    Own,
    /// The mean colour.
    MeanColour,
    /// Whatever colour lies under it.
    Dropped,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            preset: "tiny".into(),
            base: String::new(),
            template: OWN.into(),
            transparency: TransparencyChoice::Own,
        }
    }
}

impl PolicyConfig {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        if let Err(error) = Preset::parse_trainable(&self.preset) {
            let wanted = match error {
                ModelError::Config { expected, .. } => expected.to_owned(),
                other => other.to_string(),
            };
            check.require(false, "preset", &self.preset, wanted);
        }
        let template = self.template == OWN || PromptTemplate::parse(&self.template).is_ok();
        check.require(
            template,
            "template",
            &self.template,
            "own, vicuna_v1, short, or a text with one <image> and, behind it, one {instruction}",
        );
        check.finish()
    }

    /// What is read into a policy in place of what its directory says.
    pub(crate) fn reading(&self) -> PolicyReading {
        PolicyReading {
            // The configuration was checked.
            template: PromptTemplate::parse(&self.template).ok(),
            transparency: match self.transparency {
                TransparencyChoice::Own => None,
                TransparencyChoice::MeanColour => Some(Transparency::MeanColour),
                TransparencyChoice::Dropped => Some(Transparency::Dropped),
            },
        }
    }
}

/// What a directory says of itself.
const OWN: &str = "own";

/// `[paths]`: directories that one command writes and the next one reads. `adwright demo` has its own inside `--out`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PathsConfig {
    /// The initial policy: `pretrain --out`, `learner --policy`. A directory, or the URL that `adwright model push` wrote it
    /// to, for commands that read it. Default `out/policy`.
    pub(crate) policy: String,
    /// The reward model: `train-reward --out`, `reward-server --model`. A directory, or such a URL. Default
    /// `out/reward-model`.
    pub(crate) reward_model: String,
    /// The trained adapter, in PEFT's layout: `learner --adapter`. A directory or a URL (`file:///absolute/directory`)
    /// that holds no adapter of another run. Default `out/adapter`.
    pub(crate) adapter: String,
    /// A directory of this machine for what is taken by URL, shared by its processes. Default empty: `adwright` in the user's
    /// directory for caches (`$XDG_CACHE_HOME`, else `~/.cache`). It may be removed while nothing runs.
    pub(crate) cache: String,
}

impl Default for PathsConfig {
    fn default() -> Self {
        let path = |name: &str| format!("out/{name}");
        Self {
            policy: path("policy"),
            reward_model: path("reward-model"),
            adapter: path("adapter"),
            cache: String::new(),
        }
    }
}

impl PathsConfig {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        for (key, model) in [("policy", &self.policy), ("reward_model", &self.reward_model)] {
            let wanted = "a directory, a URL (docs/models.md) or hf:org/name@revision";
            check.require(is_model(model), key, model, wanted);
        }
        let wanted = "a directory or a URL (docs/stores.md)";
        check.require(is_location(&self.adapter), "adapter", &self.adapter, wanted);
        let is_directory = self.cache.is_empty() || is_path(&self.cache) && !is_url(&self.cache);
        check.require(
            is_directory,
            "cache",
            &self.cache,
            "a directory, or nothing for the user's",
        );
        check.finish()
    }
}

/// Whether a text can name a file or a directory.
fn is_path(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\0')
}

/// Whether a text can name a directory, of this machine or in a store that other processes reach too.
fn is_location(text: &str) -> bool {
    match is_url(text) {
        true => ::store::Store::is_url(text) && !text.starts_with("memory:"),
        false => is_path(text),
    }
}

/// Whether a text can name a model: its directory, or one of a hub.
fn is_model(text: &str) -> bool {
    match HubModel::is_meant_by(text) {
        true => text.parse::<HubModel>().is_ok(),
        false => is_location(text),
    }
}

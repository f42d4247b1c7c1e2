//! `adapter_config.json` of the PEFT library: what surrounds an adapter's weights, written and read.
//!
//! We write the plain LoRA that PEFT's defaults describe. Whatever else PEFT can say of an adapter (another scaling, a rank
//! of its own for some layers, trained biases) would change its numbers, so it is refused by name and never overlooked.
//!
//! Not here: the weights ([`crate::weights`]) and their names ([`crate::llava`]).

pub(crate) mod copied;
mod lineage;
mod target_modules;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::directory::{begin, read, write};
use crate::error::ModelError;
use crate::llava::{Llava, adapted_module};
use crate::lora::LoraConfig;
use crate::weights::{
    METADATA, NamedTensors, check_finite, collect, from_safetensors, swap_hf_layout, to_safetensors,
};

/// The name of this file, in PEFT's layout.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// The name of the weights' file, in PEFT's layout.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Keys that do not change what an adapter computes.
const HARMLESS: [&str; 9] = [
    // What the adapter covers is read off its weights.
    "exclude_modules",
    "task_type",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "auto_mapping",
    "peft_version",
    "megatron_core",
    "qalora_group_size",
];

/// Initialisations that leave the base's weights alone.
const PLAIN_INITIALISATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The content of `adapter_config.json` for an adapter of `base_model`, a name or a path; a hub's model (`hf:org/name@revision`)
/// is said in PEFT's words, which loads it by them.
pub fn adapter_config(config: &LoraConfig, base_model: &str) -> String {
    let of_hub = base_model
        .strip_prefix("hf:")
        .and_then(|model| model.split_once('@'));
    let (base_model, revision) = of_hub.map_or((base_model, None), |(name, revision)| (name, Some(revision)));
    let mut content = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "bias": "none",
        "target_modules": target_modules::written(&config.targets),
        "inference_mode": true,
    });
    if let Some(revision) = revision {
        content["revision"] = revision.into();
    }
    format!("{content:#}")
}

/// The bytes of `adapter_model.safetensors`: equal adapters give equal bytes.
///
/// # Errors
/// As [`to_safetensors`].
pub fn adapter_bytes(adapter: &NamedTensors) -> Result<Vec<u8>, ModelError> {
    to_safetensors(adapter, METADATA)
}

/// Reads the content of `adapter_config.json`.
///
/// # Errors
/// [`ModelError::Adapter`] when it is malformed or describes anything but plain LoRA on the projections of the decoder and the head.
pub fn read_adapter_config(content: &str) -> Result<LoraConfig, ModelError> {
    parse(content, None)
}

/// An adapter from a directory in PEFT's layout, whoever wrote it: `adapter_config.json` and `adapter_model.safetensors`.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// How its branches are attached.
    pub config: LoraConfig,
    /// Its factors, under PEFT's names and in its layout.
    pub weights: NamedTensors,
    /// Of its base's own weights, where PEFT wrote them too.
    pub(crate) copies: NamedTensors,
}

impl Adapter {
    /// An adapter of these factors.
    pub fn new(config: LoraConfig, weights: NamedTensors) -> Self {
        Self {
            config,
            weights,
            copies: NamedTensors::new(),
        }
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault: it is missing, malformed, not finite, or
    /// describes anything but plain LoRA on the projections of the decoder and the head.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let weights_path = dir.join(ADAPTER_WEIGHTS);
        let weights = || {
            let mut weights = from_safetensors(&read(&weights_path)?)?;
            check_finite(&weights)?;
            let copies = copied::taken_from(&mut weights);
            Ok((weights, copies))
        };
        let (weights, copies) = weights().map_err(|error: ModelError| error.in_file(&weights_path))?;
        let config = read_config(dir, weights.keys().map(String::as_str))?;
        Ok(Self {
            config,
            weights,
            copies,
        })
    }

    /// Reads a directory, for the policy in the directory `base`: an adapter of ours knows its base.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ModelError::Content`] when it was trained on other weights, with both digests.
    pub fn load_for(dir: &Path, base: &Path) -> Result<Self, ModelError> {
        let adapter = Self::load(dir)?;
        lineage::check(dir, base)?;
        Ok(adapter)
    }

    /// Writes a directory that PEFT reads. `base_model` is what its configuration calls the base, a name or a path.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written.
    pub fn save(&self, dir: &Path, base_model: &str) -> Result<(), ModelError> {
        begin(dir, ADAPTER_CONFIG)?;
        write(&dir.join(ADAPTER_WEIGHTS), &adapter_bytes(&self.weights)?)?;
        write(
            &dir.join(ADAPTER_CONFIG),
            adapter_config(&self.config, base_model).as_bytes(),
        )
    }

    /// The model with this adapter in place of any that it had.
    ///
    /// # Errors
    /// [`ModelError::Adapter`] when it belongs to another base: with what it lacks and what it has too much, or the factor
    /// whose shape does not fit.
    pub fn attach(&self, model: Llava) -> Result<Llava, ModelError> {
        let attached = model.with_adapter(&self.config, 0)?;
        for branch in copied::branches(&self.copies) {
            let path = format!("{}.weight", adapted_module(branch));
            let own = swap_hf_layout(collect(&attached, |own| own == path))?;
            if let (Some(own), Some(copy)) = (own.get(&path), copied::of_branch(&self.copies, branch)) {
                copied::check(copy, own, branch)?;
            }
        }
        attached
            .load_adapter(&self.weights)
            .map_err(|error| ModelError::Adapter {
                reason: format!("it belongs to another base: {error}"),
            })
    }
}

/// Reads the configuration of an adapter whose weights have these names.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub(crate) fn read_config<'a>(
    dir: &Path,
    names: impl Iterator<Item = &'a str>,
) -> Result<LoraConfig, ModelError> {
    let path = dir.join(ADAPTER_CONFIG);
    let content = read(&path)?;
    parse(&String::from_utf8_lossy(&content), Some(covered(names))).map_err(|error| error.in_file(&path))
}

/// The projections that the factors belong to: last names before `lora_A`.
fn covered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names = names.filter_map(|name| name.strip_suffix(".lora_A.weight")?.rsplit('.').next());
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Where the weights are at hand, they say which projections are `covered`: `target_modules` may be any regular expression.
fn parse(content: &str, covered: Option<Vec<String>>) -> Result<LoraConfig, ModelError> {
    let fault = |reason: String| ModelError::Adapter { reason };
    let mut keys: Map<String, Value> = serde_json::from_str(content)
        .map_err(|error| fault(format!("{ADAPTER_CONFIG}: not a JSON object: {error}")))?;
    let mut take = |key: &str| keys.remove(key).unwrap_or_default();
    let (kind, bias, initialised) = (take("peft_type"), take("bias"), take("init_lora_weights"));
    let config = LoraConfig {
        rank: number(take("r"), "r", Value::as_u64)? as usize,
        alpha: number(take("lora_alpha"), "lora_alpha", Value::as_f64)?,
        targets: match (take("target_modules"), covered) {
            (_, Some(covered)) => covered,
            (written, None) => target_modules::read(written)?,
        },
        rslora: take("use_rslora") == true,
        dropout: match take("lora_dropout") {
            // Adapters of PEFT's first versions may lack it.
            Value::Null => 0.0,
            rate => number(rate, "lora_dropout", Value::as_f64)?,
        },
    };
    if kind != "LORA" {
        return Err(wrong("peft_type", &kind, "\"LORA\""));
    }
    if !(bias == "none" || is_off(&bias)) {
        return Err(wrong("bias", &bias, "\"none\""));
    }
    let plain = |name: &str| PLAIN_INITIALISATIONS.contains(&name);
    if !(initialised.is_null() || initialised.is_boolean() || initialised.as_str().is_some_and(plain)) {
        return Err(wrong(
            "init_lora_weights",
            &initialised,
            "one that keeps the base as it is",
        ));
    }
    let other = keys
        .iter()
        .find(|(key, value)| !HARMLESS.contains(&key.as_str()) && !is_off(value));
    if let Some((key, value)) = other {
        return Err(wrong(key, value, "nothing: only plain LoRA can be computed"));
    }
    config.check()?;
    Ok(config)
}

fn number<T>(value: Value, key: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T, ModelError> {
    read(&value).ok_or_else(|| wrong(key, &value, "a number, at least 0"))
}

/// What PEFT writes for a feature that is not used.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(entries) => entries.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

fn wrong(key: &str, value: &Value, expected: &str) -> ModelError {
    ModelError::Adapter {
        reason: format!("{ADAPTER_CONFIG}: {key} = {value}: expected {expected}"),
    }
}

#[cfg(test)]
mod tests;

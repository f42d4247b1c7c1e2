//! `adapter_config.json` of the PEFT library: what surrounds an adapter's weights, written and read.
//!
//! We write the plain LoRA that PEFT's defaults describe. Whatever else PEFT can say of an adapter (another scaling, a rank
//! of its own for some layers, trained biases) would change its numbers, so it is refused by name and never overlooked.
//!
//! Not here: the weights ([`crate::weights`]) and their names ([`crate::llava`]).

mod lineage;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::directory::{begin, read, write};
use crate::error::ModelError;
use crate::llava::Llava;
use crate::lora::{HEAD, LoraConfig};
use crate::weights::{METADATA, NamedTensors, check_finite, from_safetensors, to_safetensors};

/// The name of this file, in PEFT's layout.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// The name of the weights' file, in PEFT's layout.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Which modules PEFT looks at: those of the language model. A bare `q_proj` would also name the vision tower's.
const SCOPE: &str = r".*language_model.*\.";

/// The head: with transformers since 4.52 it stands beside the language model, before within it.
const OUTPUT: &str = r"(.*\.)?lm_head";

/// How names end of what PEFT writes beside an adapter of the head: the base's own, which the base has.
const COPIED: &str = ".base_layer.weight";

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
        "target_modules": target_modules(&config.targets),
        "inference_mode": true,
    });
    if let Some(revision) = revision {
        content["revision"] = revision.into();
    }
    format!("{content:#}")
}

/// Which modules PEFT is to adapt. It takes a text as a regular expression for whole module names, and a list as their ends.
fn target_modules(targets: &[String]) -> String {
    let projections: Vec<_> = targets
        .iter()
        .map(String::as_str)
        .filter(|target| *target != HEAD)
        .collect();
    let decoder = (!projections.is_empty()).then(|| format!("{SCOPE}({})", projections.join("|")));
    let head = targets
        .iter()
        .any(|target| target == HEAD)
        .then(|| OUTPUT.to_owned());
    decoder.into_iter().chain(head).collect::<Vec<_>>().join("|")
}

/// The inverse, for what we write.
fn targeted(text: &str) -> Option<Vec<String>> {
    let (decoder, head) = match text.strip_suffix(OUTPUT) {
        Some(decoder) => (decoder.strip_suffix('|').unwrap_or(decoder), Some(HEAD)),
        None => (text, None),
    };
    let projections = match decoder {
        "" => None,
        decoder => Some(
            decoder
                .strip_prefix(SCOPE)?
                .strip_prefix('(')?
                .strip_suffix(')')?,
        ),
    };
    let names = projections
        .into_iter()
        .flat_map(|names| names.split('|'))
        .chain(head);
    Some(names.map(str::to_owned).collect())
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
}

impl Adapter {
    /// Reads a directory.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault: it is missing, malformed, not finite, or
    /// describes anything but plain LoRA on the projections of the decoder and the head.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let weights_path = dir.join(ADAPTER_WEIGHTS);
        let weights = || {
            let mut weights = from_safetensors(&read(&weights_path)?)?;
            weights.retain(|name, _| !name.ends_with(COPIED));
            check_finite(&weights)?;
            Ok(weights)
        };
        let weights = weights().map_err(|error: ModelError| error.in_file(&weights_path))?;
        let config = read_config(dir, weights.keys().map(String::as_str))?;
        Ok(Self { config, weights })
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
            (written, None) => targets(written)?,
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

/// The projections that `target_modules` names: the text that [`adapter_config`] writes, or a list of last names.
fn targets(value: Value) -> Result<Vec<String>, ModelError> {
    let listed: Option<Vec<String>> = match &value {
        Value::String(text) => targeted(text),
        Value::Array(names) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    listed.ok_or_else(|| {
        let expected = format!("{SCOPE}(q_proj|...) or a list of projections");
        wrong("target_modules", &value, &expected)
    })
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
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = LoraConfig::new(4, 8.0);
        assert_eq!(
            read_adapter_config(&adapter_config(&config, "tiny")).unwrap(),
            config
        );
        config.targets = vec!["v_proj".into()];
        assert_eq!(
            read_adapter_config(&adapter_config(&config, "tiny")).unwrap(),
            config
        );
    }

    #[test]
    fn a_hubs_model_is_named_as_peft_loads_it() {
        let written = |base| {
            let text = adapter_config(&LoraConfig::new(4, 8.0), base);
            let mut written: Value = serde_json::from_str(&text).unwrap();
            ["base_model_name_or_path", "revision"].map(|key| written[key].take())
        };
        assert_eq!(written("hf:org/name@abc"), [json!("org/name"), json!("abc")]);
        for path in ["out/policy", "s3://bucket/policy@2"] {
            assert_eq!(written(path), [json!(path), Value::Null]);
        }
    }

    /// Whether PEFT takes a module of this name for one that the adapter is beside.
    fn is_adapted(config: &LoraConfig, name: &str) -> bool {
        let text = adapter_config(config, "out/policy");
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["base_model_name_or_path"], "out/policy");
        let pattern = written["target_modules"].as_str().unwrap();
        // It matches whole names.
        let whole = tokenizers::utils::SysRegex::new(&format!("^(?:{pattern})$")).unwrap();
        whole.find_iter(name).next().is_some()
    }

    #[test]
    fn the_head_is_named_where_it_is_adapted_wherever_it_stands_and_read_again() {
        let all = LoraConfig::new(4, 8.0).with_head();
        let mut head = all.clone();
        head.targets.retain(|target| target == HEAD);
        for name in ["language_model.lm_head", "lm_head"] {
            assert!(is_adapted(&all, name) && is_adapted(&head, name), "{name}");
        }
        let projection = "model.language_model.layers.31.mlp.down_proj";
        assert!(is_adapted(&all, projection) && !is_adapted(&head, projection));
        assert!(!is_adapted(
            &all,
            "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"
        ));
        for config in [all, head] {
            assert_eq!(
                read_adapter_config(&adapter_config(&config, "out/policy")).unwrap(),
                config
            );
        }
    }

    #[test]
    fn the_expression_names_the_language_models_projections_and_not_the_towers() {
        let is_match = |name: &str| is_adapted(&LoraConfig::new(4, 8.0), name);
        for name in [
            "language_model.model.layers.0.self_attn.q_proj",
            "model.language_model.layers.31.mlp.down_proj",
        ] {
            assert!(is_match(name), "{name}");
        }
        for name in [
            "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
            "model.vision_tower.vision_model.encoder.layers.0.self_attn.v_proj",
            "language_model.lm_head",
            "language_model.model.layers.0.self_attn.q_proj.lora_A",
            "multi_modal_projector.linear_1",
        ] {
            assert!(!is_match(name), "{name}");
        }
    }

    /// The keys that PEFT 0.17 writes for a plain adapter of another program.
    fn foreign() -> Value {
        json!({
            "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": "llava", "bias": "none",
            "corda_config": null, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
            "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
            "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 16, "lora_bias": false,
            "lora_dropout": 0.05, "megatron_config": null, "megatron_core": "megatron.core",
            "modules_to_save": null, "peft_type": "LORA", "qalora_group_size": 16, "r": 8, "rank_pattern": {},
            "revision": null, "target_modules": ["q_proj", "v_proj"], "target_parameters": null,
            "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": false, "use_qalora": false,
            "use_rslora": false,
        })
    }

    #[test]
    fn a_plain_adapter_of_another_program_is_read() {
        let config = read_adapter_config(&foreign().to_string()).unwrap();
        assert_eq!((config.rank, config.alpha, config.dropout), (8, 16.0, 0.05));
        assert_eq!(config.targets, ["q_proj", "v_proj"]);
    }

    #[test]
    fn whatever_would_give_other_numbers_is_refused_by_key() {
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("bias", json!("lora_only")),
            ("use_dora", json!(true)),
            ("fan_in_fan_out", json!(true)),
            ("rank_pattern", json!({"q_proj": 4})),
            ("alpha_pattern", json!({"q_proj": 4})),
            ("modules_to_save", json!(["lm_head"])),
            ("layers_to_transform", json!([0, 1])),
            ("init_lora_weights", json!("pissa")),
            ("invented_later", json!("on")),
            ("r", json!(-1)),
            ("lora_alpha", Value::Null),
            ("target_modules", json!("all-linear")),
            ("target_modules", json!(7)),
        ] {
            let mut content = foreign();
            content[key] = value;
            let message = read_adapter_config(&content.to_string()).unwrap_err().to_string();
            assert!(
                message.contains(&format!("adapter_config.json: {key} = ")),
                "{message}"
            );
        }
        for (key, value) in [
            ("r", json!(0)),
            ("lora_alpha", json!(0.0)),
            ("lora_dropout", json!(1.0)),
            ("target_modules", json!(["embed_tokens"])),
            ("target_modules", json!([])),
        ] {
            let mut content = foreign();
            content[key] = value;
            assert!(read_adapter_config(&content.to_string()).is_err(), "{key}");
        }
        assert!(
            read_adapter_config("")
                .unwrap_err()
                .to_string()
                .contains(ADAPTER_CONFIG)
        );
    }
}

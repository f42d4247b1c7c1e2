//! Models and adapters as directories.
//!
//! A model directory holds `config.json` and `model.safetensors` under Hugging Face's names and in its layout,
//! `tokenizer.json`, and `adwright.json` with what those formats have no place for. An adapter directory is PEFT's:
//! `adapter_config.json` and `adapter_model.safetensors`. Every file is written beside its place and renamed into it,
//! the one that marks the directory as complete last, so that nothing half-written is ever read.
//!
//! Not here: shards, other checkpoint layouts, uploading.

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use serde::{Deserialize, Serialize};

use crate::directory::{begin, read, read_json, to_json, write};
use crate::error::ModelError;
use crate::llava::LlavaConfig;
use crate::lora::LoraConfig;
use crate::policy::Policy;
use crate::processor::ImageProcessor;
use crate::template::PromptTemplate;
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::weights::{NamedTensors, apply, cast, collect, from_safetensors, swap_hf_layout, to_safetensors};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const OURS: &str = "adwright.json";
/// The files of a policy's directory: all that [`Policy::load`] reads, and nothing that somebody else may have put there.
pub const POLICY_FILES: [&str; 4] = [OURS, CONFIG, WEIGHTS, TOKENIZER];

const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Metadata entry that readers of safetensors files expect from PyTorch.
const METADATA: Option<(&str, &str)> = Some(("format", "pt"));

/// Content of `adwright.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extras {
    format: u32,
    special_tokens: SpecialTokens,
    template: PromptTemplate,
    processor: ImageProcessor,
}

impl Policy {
    /// Reads a model directory onto `device`, in the number format of its file.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault; the errors of
    /// [`apply`] when the weights do not fit the configuration.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::load_as(dir, device, None)
    }

    /// The same, with the weights converted to `dtype` when one is given.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(dir: &Path, device: &Device, dtype: Option<FloatDType>) -> Result<Self, ModelError> {
        let extras: Extras = read_json(&dir.join(OURS))?;
        if extras.format != 1 {
            let reason = format!("format {}, expected 1", extras.format);
            return Err(ModelError::Content {
                path: dir.join(OURS),
                reason,
            });
        }
        let config: LlavaConfig = read_json(&dir.join(CONFIG))?;
        config.check()?;
        let tokenizer = Tokenizer::load(&dir.join(TOKENIZER), extras.special_tokens)?;
        let mut weights = swap_hf_layout(from_safetensors(&read(&dir.join(WEIGHTS))?)?)?;
        if let Some(dtype) = dtype {
            weights = cast(weights, dtype)?;
        }
        // Parameters are drawn at first use, so none of the fresh ones ever is.
        let model = apply(config.init(device, 0), &mut weights)?;
        Ok(Self {
            config,
            model,
            tokenizer,
            processor: extras.processor,
            template: extras.template,
        })
    }

    /// Writes a model directory, without any adapter. A complete directory of that name is replaced.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let extras = Extras {
            format: 1,
            special_tokens: self.tokenizer.special().clone(),
            template: self.template.clone(),
            processor: self.processor.clone(),
        };
        begin(dir, OURS)?;
        write(&dir.join(CONFIG), &to_json(&self.config))?;
        write(&dir.join(TOKENIZER), self.tokenizer.to_json()?.as_bytes())?;
        let weights = swap_hf_layout(collect(&self.model.without_adapter(), |_| true))?;
        write(&dir.join(WEIGHTS), &to_safetensors(&weights, METADATA)?)?;
        write(&dir.join(OURS), &to_json(&extras))
    }
}

/// Content of PEFT's `adapter_config.json`, as far as it concerns us.
#[derive(Debug, Serialize, Deserialize)]
struct PeftConfig {
    peft_type: String,
    task_type: String,
    base_model_name_or_path: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    bias: String,
    target_modules: Vec<String>,
    #[serde(default)]
    inference_mode: bool,
}

/// The bytes of `adapter_model.safetensors`: equal adapters give equal bytes.
///
/// # Errors
/// As [`to_safetensors`].
pub fn adapter_bytes(adapter: &NamedTensors) -> Result<Vec<u8>, ModelError> {
    to_safetensors(adapter, METADATA)
}

/// Writes an adapter directory as the PEFT library reads it. `base_model` names the model it belongs to.
///
/// # Errors
/// [`ModelError::File`] with the file that could not be written.
pub fn save_adapter(
    dir: &Path,
    adapter: &NamedTensors,
    config: &LoraConfig,
    base_model: &str,
) -> Result<(), ModelError> {
    let peft = PeftConfig {
        peft_type: "LORA".into(),
        task_type: "CAUSAL_LM".into(),
        base_model_name_or_path: base_model.into(),
        r: config.rank,
        lora_alpha: config.alpha,
        lora_dropout: 0.0,
        bias: "none".into(),
        target_modules: config.targets.clone(),
        inference_mode: true,
    };
    begin(dir, ADAPTER_CONFIG)?;
    write(&dir.join(ADAPTER_WEIGHTS), &adapter_bytes(adapter)?)?;
    write(&dir.join(ADAPTER_CONFIG), &to_json(&peft))
}

/// Reads an adapter directory.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub fn load_adapter(dir: &Path) -> Result<(LoraConfig, NamedTensors), ModelError> {
    let path = dir.join(ADAPTER_CONFIG);
    let peft: PeftConfig = read_json(&path)?;
    if peft.peft_type != "LORA" || peft.bias != "none" {
        let reason = format!(
            "peft_type {}, bias {}: expected LORA and none",
            peft.peft_type, peft.bias
        );
        return Err(ModelError::Content { path, reason });
    }
    let config = LoraConfig {
        rank: peft.r,
        alpha: peft.lora_alpha,
        targets: peft.target_modules,
    };
    Ok((config, from_safetensors(&read(&dir.join(ADAPTER_WEIGHTS))?)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::batch::{CompletionRow, collate};
    use crate::presets::tests::{picture, policy};

    #[test]
    fn a_saved_policy_is_the_same_policy() {
        let (dir, saved) = (tempfile::tempdir().unwrap(), policy(1));
        saved.save(dir.path()).unwrap();
        let loaded = Policy::load(dir.path(), &Device::flex()).unwrap();
        let row = CompletionRow {
            prompt_ids: &[1, 20],
            image: None,
            completion_ids: &[22, 2],
        };
        let batch = collate(&[row], 0, &saved.config.row_limits()).unwrap();
        let score = |policy: &Policy| policy.model.completion_log_probs(&batch, None).sums().into_data();
        assert_eq!(score(&loaded), score(&saved));
        assert_eq!((loaded.config, loaded.template), (saved.config, saved.template));
        assert_eq!(loaded.processor, saved.processor);
    }

    #[test]
    fn bf16_weights_with_an_f32_adapter_score_nearly_as_f32_ones() {
        let (dir, saved) = (tempfile::tempdir().unwrap(), policy(1));
        saved.save(dir.path()).unwrap();
        let mut loaded = Policy::load_as(dir.path(), &Device::flex(), Some(FloatDType::BF16)).unwrap();
        loaded.model = loaded.model.with_adapter(&LoraConfig::new(4, 8.0), 3).unwrap();
        let row = CompletionRow {
            prompt_ids: &[1, 3, 20],
            image: Some(0),
            completion_ids: &[22, 2],
        };
        let batch = collate(&[row], 1, &saved.config.row_limits()).unwrap();
        let sum = |policy: &Policy| {
            let features = policy.image_features(&[&picture(9, 99, 199)]).unwrap();
            policy
                .model
                .completion_log_probs(&batch, Some(features))
                .sums()
                .into_scalar::<f32>()
        };
        assert!(
            (sum(&loaded) - sum(&saved)).abs() < 0.05,
            "{} {}",
            sum(&loaded),
            sum(&saved)
        );
    }

    #[test]
    fn saving_twice_writes_the_same_bytes_and_leaves_no_parts() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        policy(1).save(first.path()).unwrap();
        policy(1).save(second.path()).unwrap();
        policy(1).save(second.path()).unwrap();
        for name in [CONFIG, WEIGHTS, TOKENIZER, OURS] {
            assert_eq!(
                read(&first.path().join(name)).unwrap(),
                read(&second.path().join(name)).unwrap()
            );
        }
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 4);
    }

    #[test]
    fn the_file_holds_hugging_face_names_and_layout() {
        let dir = tempfile::tempdir().unwrap();
        policy(1).save(dir.path()).unwrap();
        let file = from_safetensors(&read(&dir.path().join(WEIGHTS)).unwrap()).unwrap();
        for (name, shape) in [
            ("vision_tower.vision_model.embeddings.class_embedding", &[64][..]),
            (
                "vision_tower.vision_model.embeddings.patch_embedding.weight",
                &[64, 3, 8, 8],
            ),
            (
                "vision_tower.vision_model.embeddings.position_embedding.weight",
                &[17, 64],
            ),
            ("vision_tower.vision_model.pre_layrnorm.bias", &[64]),
            (
                "vision_tower.vision_model.encoder.layers.2.self_attn.out_proj.bias",
                &[64],
            ),
            (
                "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
                &[256, 64],
            ),
            ("vision_tower.vision_model.post_layernorm.weight", &[64]),
            ("multi_modal_projector.linear_1.weight", &[96, 64]),
            ("language_model.model.layers.0.mlp.down_proj.weight", &[96, 256]),
            (
                "language_model.model.layers.0.post_attention_layernorm.weight",
                &[96],
            ),
            ("language_model.model.embed_tokens.weight", &[300, 96]),
            ("language_model.model.norm.weight", &[96]),
            ("language_model.lm_head.weight", &[300, 96]),
        ] {
            assert_eq!(file[name].shape().as_slice(), shape, "{name}");
        }
    }

    #[test]
    fn an_incomplete_directory_names_the_missing_file() {
        let dir = tempfile::tempdir().unwrap();
        policy(1).save(dir.path()).unwrap();
        for name in [OURS, CONFIG, TOKENIZER, WEIGHTS] {
            let (path, hidden) = (dir.path().join(name), dir.path().join("hidden"));
            fs::rename(&path, &hidden).unwrap();
            let message = Policy::load(dir.path(), &Device::flex()).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
            fs::rename(&hidden, &path).unwrap();
        }
    }

    #[test]
    fn an_adapter_directory_comes_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let config = LoraConfig::new(4, 8.0);
        let adapter = policy(1).model.with_adapter(&config, 3).unwrap().adapter();
        save_adapter(dir.path(), &adapter, &config, "tiny").unwrap();
        assert_eq!(load_adapter(dir.path()).unwrap(), (config, adapter));
    }

    #[test]
    fn an_adapter_of_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = LoraConfig::new(4, 8.0);
        save_adapter(dir.path(), &NamedTensors::new(), &config, "tiny").unwrap();
        let path = dir.path().join(ADAPTER_CONFIG);
        let text = fs::read_to_string(&path).unwrap().replace("LORA", "IA3");
        fs::write(&path, text).unwrap();
        assert!(load_adapter(dir.path()).unwrap_err().to_string().contains("IA3"));
    }
}

//! The files beside a checkpoint's weights, in transformers' layout and in the LLaVA repository's: what `hf.rs` and
//! `original.rs` read, written. `config.json` comes last: it marks a directory as complete.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::described::{CONFIG, TOKENIZER};
use crate::directory::{begin, to_json, write};
use crate::error::ModelError;
use crate::llava::LlavaConfig;
use crate::processor::{Fit, ImageProcessor};
use crate::tokenizer::Tokenizer;

/// The class that the LLaVA repository reads a policy with.
pub(super) const ORIGINAL_CLASS: &str = "LlavaLlamaForCausalLM";

/// Where a written directory of the LLaVA repository's layout has its tower's description.
const TOWER: &str = "vision_tower";

/// What surrounds the weights of a checkpoint.
pub(super) struct Description<'a> {
    pub(super) config: &'a LlavaConfig,
    pub(super) processor: &'a ImageProcessor,
    pub(super) tokenizer: &'a Tokenizer,
}

impl Description<'_> {
    /// Writes transformers' files.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written.
    pub(super) fn write_hf(&self, out: &Path) -> Result<(), ModelError> {
        let (config, tokenizer) = (self.config, self.tokenizer);
        let next = config.model_type == "llava_next";
        let class = if next { "LlavaNext" } else { "Llava" };
        let special = tokenizer.special();
        let mut json = json!({
            "architectures": [format!("{class}ForConditionalGeneration")], "model_type": config.model_type,
            "image_token_index": config.image_token_id, "image_seq_length": config.vision.num_patches(),
            "projector_hidden_act": "gelu", "multimodal_projector_bias": true, "tie_word_embeddings": false,
            "vision_feature_layer": config.vision_feature_layer, "vision_feature_select_strategy": "default",
            "pad_token_id": tokenizer.id(&special.pad),
            "text_config": llama(&config.text)?, "vision_config": clip(&config.vision)?,
        });
        if let Fit::AnyRes(any_res) = &self.processor.fit {
            json["image_grid_pinpoints"] = json!(any_res.shapes);
        }
        let words = json!({
            "tokenizer_class": "LlamaTokenizer", "bos_token": special.begin, "eos_token": special.end,
            "pad_token": special.pad, "unk_token": "<unk>", "image_token": special.image, "legacy": true,
            "add_bos_token": true, "add_eos_token": false, "padding_side": "left",
            "clean_up_tokenization_spaces": false, "model_max_length": config.text.max_position_embeddings,
        });
        let map = json!({
            "bos_token": special.begin, "eos_token": special.end, "pad_token": special.pad, "unk_token": "<unk>",
            "image_token": special.image,
        });
        let joint = json!({
            "processor_class": format!("{class}Processor"), "image_token": special.image,
            "patch_size": config.vision.patch_size, "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        });
        write(
            &out.join("preprocessor_config.json"),
            &to_json(&processor_keys(self.processor)),
        )?;
        write(&out.join("processor_config.json"), &to_json(&joint))?;
        write(&out.join("tokenizer_config.json"), &to_json(&words))?;
        write(&out.join("special_tokens_map.json"), &to_json(&map))?;
        write(&out.join(TOKENIZER), tokenizer.to_json()?.as_bytes())?;
        write(&out.join(CONFIG), &to_json(&json))
    }

    /// Writes the LLaVA repository's files, but for the tokenizer, which there is a SentencePiece model. `class` is what
    /// reads the weights.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written.
    pub(super) fn write_original(&self, out: &Path, class: &str) -> Result<(), ModelError> {
        let config = self.config;
        let mut json = llama(&config.text)?;
        let (aspect, merge) = match &self.processor.fit {
            Fit::Pad => ("pad", "flat"),
            Fit::CentreCrop => ("square", "flat"),
            Fit::AnyRes(_) => ("anyres", "spatial_unpad"),
        };
        let keys = json!({
            "architectures": [class], "model_type": "llava_llama", "mm_vision_tower": TOWER,
            "mm_hidden_size": config.vision.hidden_size, "mm_projector_type": "mlp2x_gelu",
            "mm_vision_select_layer": config.vision_feature_layer, "mm_vision_select_feature": "patch",
            "mm_use_im_start_end": false, "mm_use_im_patch_token": false, "image_aspect_ratio": aspect,
            "mm_patch_merge_type": merge, "use_mm_proj": true,
        });
        json.extend(table(&keys)?);
        if let Fit::AnyRes(any_res) = &self.processor.fit {
            let turned: Vec<[usize; 2]> = any_res
                .shapes
                .iter()
                .map(|&[height, width]| [width, height])
                .collect();
            json.insert("image_grid_pinpoints".into(), json!(turned));
        }
        let tower = out.join(TOWER);
        begin(&tower, CONFIG)?;
        let clip_processor = ImageProcessor {
            fit: Fit::CentreCrop,
            ..self.processor.clone()
        };
        write(
            &tower.join("preprocessor_config.json"),
            &to_json(&processor_keys(&clip_processor)),
        )?;
        write(&tower.join(CONFIG), &to_json(&clip(&config.vision)?))?;
        let special = self.tokenizer.special();
        let words = json!({
            "tokenizer_class": "LlamaTokenizer", "bos_token": special.begin, "eos_token": special.end, "unk_token": "<unk>",
            "legacy": true, "add_bos_token": true, "add_eos_token": false,
        });
        write(&out.join("tokenizer_config.json"), &to_json(&words))?;
        write(&out.join(CONFIG), &to_json(&json))
    }
}

/// A Llama's keys that have one value here.
fn llama(text: &crate::llama::LlamaConfig) -> Result<Map<String, Value>, ModelError> {
    let mut keys = table(text)?;
    keys.extend([
        ("model_type".into(), json!("llama")),
        ("hidden_act".into(), json!("silu")),
        ("attention_bias".into(), json!(false)),
        ("tie_word_embeddings".into(), json!(false)),
    ]);
    Ok(keys)
}

fn clip(vision: &crate::clip::ClipVisionConfig) -> Result<Map<String, Value>, ModelError> {
    let mut keys = table(vision)?;
    keys.extend([
        ("model_type".into(), json!("clip_vision_model")),
        ("hidden_act".into(), json!("quick_gelu")),
        ("projection_dim".into(), json!(vision.hidden_size)),
    ]);
    Ok(keys)
}

fn table(value: &impl serde::Serialize) -> Result<Map<String, Value>, ModelError> {
    match serde_json::to_value(value) {
        Ok(Value::Object(keys)) => Ok(keys),
        _ => Err(ModelError::Foreign {
            reason: "a configuration without a JSON form".into(),
        }),
    }
}

/// CLIP's keys of a picture processor.
fn processor_keys(processor: &ImageProcessor) -> Value {
    let size = processor.size;
    let mut keys = json!({
        "do_resize": true, "do_rescale": true, "do_normalize": true, "do_convert_rgb": true, "resample": 3,
        "rescale_factor": 1.0 / 255.0, "size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size},
        "image_mean": processor.mean, "image_std": processor.std, "do_center_crop": processor.fit != Fit::Pad,
        "image_processor_type": "CLIPImageProcessor",
    });
    match &processor.fit {
        Fit::CentreCrop => {}
        Fit::Pad => {
            keys["do_pad"] = true.into();
            keys["image_processor_type"] = "LlavaImageProcessor".into();
        }
        Fit::AnyRes(any_res) => {
            keys["do_pad"] = true.into();
            keys["image_grid_pinpoints"] = json!(any_res.shapes);
            keys["image_processor_type"] = "LlavaNextImageProcessor".into();
        }
    }
    keys
}

//! `LlavaForConditionalGeneration` (1.5) and `LlavaNextForConditionalGeneration` (1.6) of transformers: its configuration
//! and picture processor as ours. Keys that a file leaves out have the values of transformers' own classes.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::described::{CONFIG, rope};
use crate::directory::read_json;
use crate::error::ModelError;
use crate::foreign::{complete, require};
use crate::llava::LlavaConfig;
use crate::processor::{AnyRes, Fit, ImageProcessor, Unpad};

const PROCESSOR: &str = "preprocessor_config.json";

/// Where transformers 5 keeps it.
const NESTED_PROCESSOR: &str = "processor_config.json";

/// Configuration and processor of a directory.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file and key at fault.
pub(super) fn read(
    dir: &Path,
    json: Map<String, Value>,
) -> Result<(LlavaConfig, ImageProcessor), ModelError> {
    let path = dir.join(CONFIG);
    let pinpoints = json.get("image_grid_pinpoints").cloned();
    let config = config(json).map_err(|error| error.in_file(&path))?;
    let processor = processor(dir, &config, pinpoints)?;
    Ok((config, processor))
}

fn config(mut json: Map<String, Value>) -> Result<LlavaConfig, ModelError> {
    require(
        &json,
        "",
        &[
            ("projector_hidden_act", json!("gelu")),
            ("multimodal_projector_bias", json!(true)),
            ("vision_feature_select_strategy", json!("default")),
            ("tie_word_embeddings", json!(false)),
        ],
    )?;
    // Some files name both.
    if json.contains_key("image_token_index") {
        json.remove("image_token_id");
    }
    if !json.contains_key("image_token_id") {
        complete(&mut json, json!({"image_token_index": 32_000}));
    }
    complete(&mut json, json!({"vision_feature_layer": -2}));
    let mut part = |key: &str| match json.remove(key) {
        Some(Value::Object(map)) => Ok(map),
        _ => Err(ModelError::Foreign {
            reason: format!("{key} is missing, expected a table"),
        }),
    };
    let (text, vision) = (part("text_config")?, part("vision_config")?);
    json.insert("text_config".into(), llama(text, 1e-6)?.into());
    json.insert("vision_config".into(), clip(vision)?.into());
    parse(json)
}

/// The keys of a Llama. `epsilon` is that of its normalisations where the file has none.
pub(super) fn llama(mut text: Map<String, Value>, epsilon: f64) -> Result<Map<String, Value>, ModelError> {
    require(
        &text,
        "text_config.",
        &[
            ("hidden_act", json!("silu")),
            ("attention_bias", json!(false)),
            ("mlp_bias", json!(false)),
            ("tie_word_embeddings", json!(false)),
        ],
    )?;
    complete(
        &mut text,
        json!({
            "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": epsilon, "rope_theta": 10_000.0,
        }),
    );
    let heads = text["num_attention_heads"].clone();
    if let (Some(width), Some(hidden), Some(heads)) = (
        text.get("head_dim").and_then(Value::as_u64),
        text["hidden_size"].as_u64(),
        heads.as_u64(),
    ) && Some(hidden) != width.checked_mul(heads)
    {
        return Err(ModelError::Foreign {
            reason: format!("text_config.head_dim = {width}: expected hidden_size / num_attention_heads"),
        });
    }
    complete(&mut text, json!({"num_key_value_heads": heads}));
    rope(&mut text)?;
    Ok(text)
}

/// The keys of a CLIP vision tower.
pub(super) fn clip(mut vision: Map<String, Value>) -> Result<Map<String, Value>, ModelError> {
    require(&vision, "vision_config.", &[("hidden_act", json!("quick_gelu"))])?;
    complete(
        &mut vision,
        json!({
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "num_channels": 3, "image_size": 224, "patch_size": 32, "layer_norm_eps": 1e-5,
        }),
    );
    Ok(vision)
}

/// Our configuration out of completed keys.
pub(super) fn parse(json: Map<String, Value>) -> Result<LlavaConfig, ModelError> {
    serde_json::from_value(json.into()).map_err(|error| ModelError::Foreign {
        reason: error.to_string(),
    })
}

/// What is read of a processor's file; the rest does not change a picture.
#[derive(Deserialize)]
pub(super) struct HfProcessor {
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    size: Option<Value>,
    crop_size: Option<Value>,
    do_center_crop: Option<bool>,
    do_pad: Option<bool>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    resample: Option<u32>,
    rescale_factor: Option<f64>,
    image_grid_pinpoints: Option<Value>,
}

impl HfProcessor {
    /// Normalisation and size, with the fit that the caller knows.
    ///
    /// # Errors
    /// [`ModelError::Foreign`] with a key that asks for something else than what is done here.
    pub(super) fn into_ours(self, fit: Fit) -> Result<ImageProcessor, ModelError> {
        const BICUBIC: u32 = 3;
        let refused = |reason: String| Err(ModelError::Foreign { reason });
        let steps = [
            ("do_resize", self.do_resize),
            ("do_rescale", self.do_rescale),
            ("do_normalize", self.do_normalize),
        ];
        if let Some((key, _)) = steps.iter().find(|(_, step)| *step == Some(false)) {
            return refused(format!("{key} = false: expected true"));
        }
        if let Some(other) = self.resample.filter(|resample| *resample != BICUBIC) {
            return refused(format!("resample = {other}: expected 3, bicubic"));
        }
        if let Some(factor) = self
            .rescale_factor
            .filter(|factor| (factor * 255.0 - 1.0).abs() > 1e-6)
        {
            return refused(format!("rescale_factor = {factor}: expected 1 / 255"));
        }
        let size = match self.size.as_ref().map_or(Some(224), side) {
            Some(size) => size,
            None => return refused("size: expected one number for both sides".into()),
        };
        let cropped = fit == Fit::CentreCrop && self.do_center_crop.unwrap_or(true);
        if cropped
            && self
                .crop_size
                .as_ref()
                .is_some_and(|crop| side(crop) != Some(size))
        {
            return refused(format!("crop_size: expected {size} as in size"));
        }
        let clip = ImageProcessor::clip(size);
        Ok(ImageProcessor {
            mean: self.image_mean.unwrap_or(clip.mean),
            std: self.image_std.unwrap_or(clip.std),
            fit,
            ..clip
        })
    }
}

/// `336`, `{"shortest_edge": 336}` or `{"height": 336, "width": 336}`.
fn side(size: &Value) -> Option<usize> {
    let number = |key: &str| size.get(key).and_then(Value::as_u64);
    let side = match (number("height"), number("width")) {
        (Some(height), Some(width)) => Some(height).filter(|_| height == width),
        _ => size.as_u64().or(number("shortest_edge")),
    };
    side.and_then(|side| usize::try_from(side).ok())
}

/// Reads a processor's file, if there is one.
pub(super) fn hf_processor(dir: &Path) -> Result<Option<HfProcessor>, ModelError> {
    let path = dir.join(PROCESSOR);
    if path.exists() {
        return read_json(&path).map(Some);
    }
    #[derive(Deserialize)]
    struct Nested {
        image_processor: Option<HfProcessor>,
    }
    let path = dir.join(NESTED_PROCESSOR);
    if path.exists() {
        return Ok(read_json::<Nested>(&path)?.image_processor);
    }
    Ok(None)
}

fn processor(
    dir: &Path,
    config: &LlavaConfig,
    pinpoints: Option<Value>,
) -> Result<ImageProcessor, ModelError> {
    let Some(given) = hf_processor(dir)? else {
        return Err(ModelError::Content {
            path: dir.join(PROCESSOR),
            reason: format!(
                "missing, and neither {NESTED_PROCESSOR} with an image_processor nor adwright.json, which Adwright writes last, \
                 is there: the directory is not whole"
            ),
        });
    };
    let fit = if config.model_type == "llava_next" {
        // The processor cuts, so its list counts where the two differ.
        let shapes = given.image_grid_pinpoints.clone().or(pinpoints);
        Fit::AnyRes(AnyRes {
            shapes: shapes_of(shapes).map_err(|error| error.in_file(&dir.join(CONFIG)))?,
            unpad: Unpad::Transformers,
        })
    } else if given.do_pad == Some(true) {
        Fit::Pad
    } else {
        Fit::CentreCrop
    };
    given.into_ours(fit).map_err(|error| error.in_file(dir))
}

/// A list of `[height, width]`.
pub(super) fn shapes_of(pinpoints: Option<Value>) -> Result<Vec<[usize; 2]>, ModelError> {
    let shapes = pinpoints.and_then(|list| serde_json::from_value(list).ok());
    shapes.ok_or_else(|| ModelError::Foreign {
        reason: "image_grid_pinpoints: expected a list of pairs of pixels".into(),
    })
}

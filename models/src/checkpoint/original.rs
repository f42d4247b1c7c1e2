//! `LlavaLlamaForCausalLM` of the LLaVA repository: one flat `config.json`, the keys of Llama beside its own `mm_*`, and a
//! vision tower that lies inside the checkpoint (1.6) or is only named there (1.5).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::described::CONFIG;
use super::hf::{clip, hf_processor, llama, parse, shapes_of};
use super::layout::ORIGINAL_TOWER;
use crate::directory::read_json;
use crate::error::ModelError;
use crate::foreign::require;
use crate::llava::LlavaConfig;
use crate::processor::{AnyRes, Fit, ImageProcessor, Unpad};
use crate::weights::shards::Shards;

/// Names of CLIP ViT-L/14 towers and the side of their input: their shape is known without a file.
const KNOWN_TOWERS: [(&str, usize); 2] = [
    ("clip-vit-large-patch14-336", 336),
    ("clip-vit-large-patch14", 224),
];

/// Configuration and processor of a directory. The weights of a tower beside it are added to `shards`.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file and key at fault.
pub(super) fn read(
    dir: &Path,
    json: Map<String, Value>,
    shards: &mut Shards,
) -> Result<(LlavaConfig, ImageProcessor), ModelError> {
    let path = dir.join(CONFIG);
    let in_config = |error: ModelError| error.in_file(&path);
    check(&json).map_err(in_config)?;
    let name = json
        .get("mm_vision_tower")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let tower = tower_directory(dir, name);
    if !holds_tower(shards) {
        let Some(tower) = &tower else {
            return Err(in_config(ModelError::Foreign {
                reason: format!(
                    "mm_vision_tower = {name:?}: the checkpoint does not hold the tower's weights; put its directory into \
                     this one or beside it"
                ),
            }));
        };
        add_tower(shards, tower, "")?;
    }
    let vision = vision(name, tower.as_deref()).map_err(in_config)?;
    let fit = fit(&json).map_err(in_config)?;
    let processor = match tower.as_deref().map(hf_processor).transpose()?.flatten() {
        Some(given) => given
            .into_ours(fit)
            .map_err(|error| error.in_file(tower.as_deref().unwrap_or(dir)))?,
        None => ImageProcessor {
            fit,
            ..ImageProcessor::clip(vision["image_size"].as_u64().unwrap_or(0) as usize)
        },
    };
    let config = config(json, vision, &processor).map_err(in_config)?;
    Ok((config, processor))
}

/// Whether the vision tower is among the weights.
pub(super) fn holds_tower(shards: &Shards) -> bool {
    let mut names = shards.tensors().keys();
    names.any(|name| name.starts_with(ORIGINAL_TOWER))
}

/// Adds the weights of a vision tower from the files of `dir` whose names begin with `prefix`.
///
/// # Errors
/// As [`Shards::add`].
pub(super) fn add_tower(shards: &mut Shards, dir: &Path, prefix: &str) -> Result<(), ModelError> {
    // A whole CLIP has its text side too.
    shards.add(dir, prefix, |name| {
        Some(format!("{ORIGINAL_TOWER}{}", name.strip_prefix("vision_model.")?))
    })
}

fn check(json: &Map<String, Value>) -> Result<(), ModelError> {
    require(
        json,
        "",
        &[
            ("mm_projector_type", json!("mlp2x_gelu")),
            ("mm_vision_select_feature", json!("patch")),
            ("mm_use_im_start_end", json!(false)),
            ("mm_use_im_patch_token", json!(false)),
        ],
    )
}

fn config(
    json: Map<String, Value>,
    vision: Map<String, Value>,
    processor: &ImageProcessor,
) -> Result<LlavaConfig, ModelError> {
    let layer = json.get("mm_vision_select_layer").cloned().unwrap_or(json!(-2));
    let text = llama(json, 1e-6)?;
    let newline = matches!(processor.fit, Fit::AnyRes(_));
    let parts = json!({
        "model_type": if newline { "llava_next" } else { "llava" },
        // There is no token for the image: the number behind the last one stands for it.
        "image_token_index": text["vocab_size"],
        "vision_feature_layer": layer,
        "vision_config": vision,
        "text_config": text,
    });
    match parts {
        Value::Object(parts) => parse(parts),
        _ => unreachable!("a table was written"),
    }
}

fn fit(json: &Map<String, Value>) -> Result<Fit, ModelError> {
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    match (text("image_aspect_ratio"), text("mm_patch_merge_type")) {
        (Some("pad"), _) => Ok(Fit::Pad),
        (Some("square") | None, _) => Ok(Fit::CentreCrop),
        (Some("anyres"), Some("spatial_unpad")) => {
            let shapes = shapes_of(json.get("image_grid_pinpoints").cloned())?;
            Ok(Fit::AnyRes(AnyRes {
                // Here the width comes first.
                shapes: shapes
                    .into_iter()
                    .map(|[width, height]| [height, width])
                    .collect(),
                unpad: Unpad::Original,
            }))
        }
        (aspect, merge) => Err(ModelError::Foreign {
            reason: format!(
                "image_aspect_ratio = {aspect:?} with mm_patch_merge_type = {merge:?}: expected pad, square, or anyres with \
                 spatial_unpad"
            ),
        }),
    }
}

/// Where the tower's own files are: in the checkpoint's directory or beside it, under its name or the last part of it.
fn tower_directory(dir: &Path, name: &str) -> Option<PathBuf> {
    let last = Path::new(name).file_name()?;
    let beside = dir.parent().unwrap_or(Path::new(".."));
    [dir.join(last), beside.join(last)]
        .into_iter()
        .find(|place| place.join(CONFIG).exists())
}

/// The tower's shape: its own configuration, or what is known by its name.
fn vision(name: &str, tower: Option<&Path>) -> Result<Map<String, Value>, ModelError> {
    if let Some(tower) = tower {
        let mut json: Map<String, Value> = read_json(&tower.join(CONFIG))?;
        // A whole CLIP describes its text side too.
        return match json.remove("vision_config") {
            Some(Value::Object(vision)) => clip(vision),
            _ => clip(json),
        };
    }
    let known = KNOWN_TOWERS.iter().find(|(known, _)| name.ends_with(known));
    let Some((_, side)) = known else {
        return Err(ModelError::Foreign {
            reason: format!(
                "mm_vision_tower = {name:?}: its shape is not known; put a directory of that name with its config.json into \
                 this one or beside it"
            ),
        });
    };
    let shape = json!({
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": side, "patch_size": 14,
    });
    match shape {
        Value::Object(shape) => clip(shape),
        _ => unreachable!("a table was written"),
    }
}

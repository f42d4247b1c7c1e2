//! A policy's directory in another layout: weights under the other names, and the files that go with it.
//!
//! Weights keep their number format and are moved one at a time. The LLaVA repository has no token for the image; going from
//! there, `<image>` and `<pad>` are added behind the vocabulary and the table filled up to a multiple of 64 rows with the
//! mean of the others, as transformers' own conversion does but for its noise. Going there, they are cut off again.
//!
//! Two things do not survive: padding among the features of tiles is counted as the target's code does (`Unpad`), and the
//! tokenizer of the LLaVA repository is a SentencePiece model, which must lie in the source.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use serde_json::{Map, Value, json};

use super::described::{CONFIG, Directory, SENTENCEPIECE, TOKENIZER};
use super::layout::{Layout, Naming};
use crate::directory::{begin, failed, to_json, write};
use crate::error::ModelError;
use crate::processor::{Fit, ImageProcessor};
use crate::template::PromptTemplate;
use crate::weights::shard_writer::ShardWriter;
use crate::weights::streaming::parameters;

/// Rows of the token table come in multiples of this, as transformers' conversion has them.
const ROWS: usize = 64;

/// Where a converted directory of the LLaVA repository has its tower's description.
const TOWER: &str = "vision_tower";

/// Tables with one row per token.
const TABLES: [&str; 2] = [
    "language_model.model.embed_tokens.weight",
    "language_model.lm_head.weight",
];

/// What to convert to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// transformers' layout, 1.5 or 1.6 as the model is.
    LlavaHf,
    /// The LLaVA repository's.
    LlavaOriginal,
}

/// Writes the policy of `from` to `out` in another layout.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault, in `from` or in `out`.
pub fn convert(from: &Path, target: Target, out: &Path) -> Result<(), ModelError> {
    let mut source = Directory::open(from)?;
    if source.layout == Layout::CaigReward {
        return Err(ModelError::Content {
            path: from.to_owned(),
            reason: "a reward model of CAIG's has one layout only; expected a policy".into(),
        });
    }
    if source.template != PromptTemplate::vicuna_v1() {
        return Err(ModelError::Content {
            path: from.to_owned(),
            reason: "its prompt template is not vicuna_v1, and the other layouts have no place for another"
                .into(),
        });
    }
    source
        .compare()
        .into_result()
        .map_err(|error| error.in_file(from))?;
    let model = from.join(SENTENCEPIECE);
    if target == Target::LlavaOriginal && !model.exists() {
        return Err(ModelError::Content {
            path: model,
            reason: "missing: the LLaVA repository reads no other tokenizer".into(),
        });
    }
    begin(out, CONFIG)?;
    if model.exists() {
        fs::copy(&model, out.join(SENTENCEPIECE)).map_err(failed("copy", &model))?;
    }
    let naming = source.naming;
    let words = match target {
        Target::LlavaHf => with_image_token(&mut source)?,
        // The tokens of its own that transformers added begin with the image's.
        Target::LlavaOriginal => source
            .tokenizer
            .words()
            .min(source.config.image_token_id as usize),
    };
    if target == Target::LlavaOriginal {
        source.config.text.vocab_size = words;
    }
    let rows = source.config.text.vocab_size;
    let theirs = match target {
        Target::LlavaHf => Naming::FLAT,
        Target::LlavaOriginal => Naming::ORIGINAL,
    };
    let names = parameters(&source.config.init(&Device::flex(), 0));
    let mut shards = ShardWriter::new(out);
    for ours in names {
        let mut data = source.shards_mut().read(&naming.theirs(&ours))?;
        if TABLES.contains(&ours.as_str()) {
            data = with_rows(data, rows, words);
        }
        shards.add(theirs.theirs(&ours), data)?;
    }
    shards.finish()?;
    match target {
        Target::LlavaHf => hf_files(&source, out),
        Target::LlavaOriginal => original_files(&source, out),
    }
}

/// Gives the image a token of its own, if it has none. Returns how many rows of the tables are words.
fn with_image_token(source: &mut Directory) -> Result<usize, ModelError> {
    if source.tokenizer.has_image_token() {
        return Ok(source.config.text.vocab_size);
    }
    let words = source.config.text.vocab_size;
    source.tokenizer = source.tokenizer.clone().with_image_token(words)?;
    source.config.image_token_id = source.tokenizer.image_id();
    source.config.text.vocab_size = source.tokenizer.vocab_size().next_multiple_of(ROWS);
    Ok(words)
}

/// A table of so many rows: the first `words` of it, then their mean.
fn with_rows(data: TensorData, rows: usize, words: usize) -> TensorData {
    let (shape, dtype) = (data.shape().clone(), data.dtype());
    let width = shape[1];
    if shape[0] == rows {
        return data;
    }
    let values: Vec<f32> = data.convert_dtype(DType::F32).iter().collect();
    let words = words.min(values.len() / width);
    let mean = (0..width).map(|column| {
        let sum: f64 = (0..words)
            .map(|row| f64::from(values[row * width + column]))
            .sum();
        (sum / words as f64) as f32
    });
    let mean: Vec<f32> = mean.collect();
    let kept = &values[..words.min(rows) * width];
    let added = rows.saturating_sub(words);
    let all = kept
        .iter()
        .copied()
        .chain(mean.iter().copied().cycle().take(added * width));
    TensorData::new(all.collect::<Vec<f32>>(), [rows, width]).convert_dtype(dtype)
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

fn hf_files(source: &Directory, out: &Path) -> Result<(), ModelError> {
    let (config, tokenizer) = (&source.config, &source.tokenizer);
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
    if let Fit::AnyRes(any_res) = &source.processor.fit {
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
        &to_json(&processor_keys(&source.processor)),
    )?;
    write(&out.join("processor_config.json"), &to_json(&joint))?;
    write(&out.join("tokenizer_config.json"), &to_json(&words))?;
    write(&out.join("special_tokens_map.json"), &to_json(&map))?;
    write(&out.join(TOKENIZER), tokenizer.to_json()?.as_bytes())?;
    write(&out.join(CONFIG), &to_json(&json))
}

fn original_files(source: &Directory, out: &Path) -> Result<(), ModelError> {
    let config = &source.config;
    let mut json = llama(&config.text)?;
    let (aspect, merge) = match &source.processor.fit {
        Fit::Pad => ("pad", "flat"),
        Fit::CentreCrop => ("square", "flat"),
        Fit::AnyRes(_) => ("anyres", "spatial_unpad"),
    };
    let keys = json!({
        "architectures": ["LlavaLlamaForCausalLM"], "model_type": "llava_llama", "mm_vision_tower": TOWER,
        "mm_hidden_size": config.vision.hidden_size, "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": config.vision_feature_layer, "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": false, "mm_use_im_patch_token": false, "image_aspect_ratio": aspect,
        "mm_patch_merge_type": merge, "use_mm_proj": true,
    });
    json.extend(table(&keys)?);
    if let Fit::AnyRes(any_res) = &source.processor.fit {
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
        ..source.processor.clone()
    };
    write(
        &tower.join("preprocessor_config.json"),
        &to_json(&processor_keys(&clip_processor)),
    )?;
    write(&tower.join(CONFIG), &to_json(&clip(&config.vision)?))?;
    let special = source.tokenizer.special();
    let words = json!({
        "tokenizer_class": "LlamaTokenizer", "bos_token": special.begin, "eos_token": special.end, "unk_token": "<unk>",
        "legacy": true, "add_bos_token": true, "add_eos_token": false,
    });
    write(&out.join("tokenizer_config.json"), &to_json(&words))?;
    write(&out.join(CONFIG), &to_json(&json))
}

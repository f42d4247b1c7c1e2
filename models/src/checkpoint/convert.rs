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

use super::beside::ORIGINAL_CLASS;
use super::described::{CONFIG, Directory, SENTENCEPIECE};
use super::layout::{Layout, Naming};
use crate::directory::{begin, failed};
use crate::error::ModelError;
use crate::template::PromptTemplate;
use crate::weights::shard_writer::ShardWriter;
use crate::weights::streaming::parameters;

/// Rows of the token table come in multiples of this, as transformers' conversion has them.
const ROWS: usize = 64;

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
        Target::LlavaHf => source.description().write_hf(out),
        Target::LlavaOriginal => source.description().write_original(out, ORIGINAL_CLASS),
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

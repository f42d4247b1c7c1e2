//! The device's side of decoding: prompts are read once into a cache, then one token per row and step.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::Prompt;
use crate::attention::padding_bias;
use crate::batch::{PromptTokens, RowLimits, TokenRows, TooLong};
use crate::error::ModelError;
use crate::image_features::ImageFeatures;
use crate::llama::{KvCache, KvCacheShape, Positions, Rope};
use crate::llava::Llava;

/// Logits of one position of every row, on the host.
pub(super) struct HostLogits {
    values: Vec<f32>,
    vocab: usize,
    /// Which row of `values` a prompt reads; `None` when it is its own.
    source: Option<Vec<usize>>,
}

impl HostLogits {
    /// The only transfer from the device in a step.
    fn read(logits: Tensor<2>, source: Option<Vec<usize>>) -> Self {
        let vocab = logits.dims()[1];
        let data = logits.cast(DType::F32).into_data();
        Self {
            values: data.try_into_vec().expect("logits were cast to f32"),
            vocab,
            source,
        }
    }

    pub(super) fn of(&self, row: usize) -> &[f32] {
        let row = self.source.as_ref().map_or(row, |source| source[row]);
        &self.values[row * self.vocab..][..self.vocab]
    }
}

/// The device's side of decoding: cached keys and values, and what every step needs.
pub(super) struct Decoder<'a> {
    model: &'a Llava,
    cache: KvCache,
    rope: Rope,
    /// Hides the padding for the whole capacity; `None` when no row is padded.
    bias: Option<Tensor<4>>,
    device: Device,
}

impl<'a> Decoder<'a> {
    /// Reads the prompts, each distinct one once, and returns the logits of the first token.
    pub(super) fn prefill(
        model: &'a Llava,
        prompts: &[Prompt],
        features: Option<&ImageFeatures>,
        max_new_tokens: usize,
        limits: &RowLimits,
    ) -> Result<(Self, HostLogits), ModelError> {
        let (distinct, source) = distinct_prompts(prompts);
        let images = features.map_or(&[][..], ImageFeatures::lengths);
        let tokens = TokenRows::of_prompts(&distinct, images, limits).map_err(|error| {
            // The row that failed is numbered among the distinct prompts; name the caller's first such row.
            renumber(error, &source)
        })?;
        let length = tokens.length;
        limits
            .check(length, max_new_tokens)
            .map_err(TooLong::of_sampling)?;
        let device = model.constants_device();
        let x = model.embed(&tokens, features);
        let (rows, width, dtype) = (x.dims()[0], x.dims()[2], x.dtype());
        let capacity = length + max_new_tokens - 1;
        let mut cache = KvCache::new(cache_shape(model, rows, capacity, width), dtype, &device);
        let positions = model.positions(&tokens);
        let last = model
            .language_model
            .model
            .forward(x, &positions, length - 1, Some(&mut cache));
        let logits = model.language_model.logits(last.reshape([rows, width]));

        let shared = distinct.len() < prompts.len();
        let cache = if shared {
            cache.select_rows(&indices(&source, &device))
        } else {
            cache
        };
        let padding: Vec<usize> = source.iter().map(|&row| tokens.padding[row]).collect();
        let decoder = Self {
            model,
            cache,
            rope: model.rope(capacity),
            bias: padding_bias(&padding, capacity, &device).map(|bias| bias.cast(dtype)),
            device,
        };
        Ok((decoder, HostLogits::read(logits, shared.then_some(source))))
    }

    /// Appends one token to every row and returns the logits of the next.
    pub(super) fn step(&mut self, tokens: impl Iterator<Item = u32>) -> HostLogits {
        let tokens: Vec<usize> = tokens.map(|token| token as usize).collect();
        let rows = tokens.len();
        let language_model = &self.model.language_model;
        let x = language_model
            .model
            .embed_tokens
            .forward(indices(&tokens, &self.device));
        let width = x.dims()[1];
        let seen = self.cache.length();
        let positions = Positions {
            rope: self.rope.narrow(seen, 1),
            bias: self.bias.clone().map(|bias| bias.narrow(3, 0, seen + 1)),
        };
        let x = x.reshape([rows, 1, width]);
        let hidden = language_model
            .model
            .forward(x, &positions, 0, Some(&mut self.cache));
        HostLogits::read(language_model.logits(hidden.reshape([rows, width])), None)
    }
}

/// Prompt tokens and image of each distinct prompt, and for every prompt the index of its own.
fn distinct_prompts(prompts: &[Prompt]) -> (Vec<PromptTokens<'_>>, Vec<usize>) {
    let mut known = BTreeMap::new();
    let mut distinct = Vec::new();
    let source = prompts.iter().map(|prompt| {
        let key = (prompt.ids.as_slice(), prompt.image);
        *known.entry(key).or_insert_with(|| {
            distinct.push(key);
            distinct.len() - 1
        })
    });
    let source = source.collect();
    (distinct, source)
}

fn renumber(error: ModelError, source: &[usize]) -> ModelError {
    match error {
        ModelError::Row { row, reason } => {
            let row = source.iter().position(|&distinct| distinct == row).unwrap_or(row);
            ModelError::Row { row, reason }
        }
        other => other,
    }
}

fn cache_shape(model: &Llava, rows: usize, capacity: usize, width: usize) -> KvCacheShape {
    let layers = &model.language_model.model.layers;
    let (heads, kv_heads) = layers
        .first()
        .map_or((1, 1), |layer| (layer.self_attn.heads, layer.self_attn.kv_heads));
    KvCacheShape {
        layers: layers.len(),
        rows,
        heads: kv_heads,
        capacity,
        width: width / heads,
    }
}

fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

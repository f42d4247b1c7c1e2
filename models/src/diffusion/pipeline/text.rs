//! Descriptions as the U-net attends to them, kept for the next picture.

use std::num::NonZero;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lru::LruCache;

use crate::diffusion::clip_tokenizer::ClipTokenizer;
use crate::diffusion::part::Part;
use crate::diffusion::prompt::{Chunk, PromptStyle, chunks};
use crate::diffusion::text_encoder::TextEncoder;
use crate::error::ModelError;

/// Descriptions kept. One takes about 240 KiB.
const KEPT: NonZero<usize> = NonZero::new(64).expect("not zero");

/// Reads descriptions.
pub(in crate::diffusion) struct Texts {
    tokenizer: ClipTokenizer,
    /// Tokens that the encoder reads at once.
    length: usize,
    style: PromptStyle,
    known: LruCache<String, Tensor<3>>,
}

impl Texts {
    pub(in crate::diffusion) fn new(tokenizer: ClipTokenizer, length: usize, style: PromptStyle) -> Self {
        Self {
            tokenizer,
            length,
            style,
            known: LruCache::new(KEPT),
        }
    }

    /// The tokens of each text, chunk behind chunk; in its place why one cannot be read. The encoder is asked for those only that
    /// are not known.
    ///
    /// # Shapes
    /// `[1, chunks * length, width]` each
    pub(in crate::diffusion) fn embed(
        &mut self,
        texts: &[&str],
        encoder: &mut Part<TextEncoder>,
        device: &Device,
    ) -> Result<Vec<Result<Tensor<3>, ModelError>>, ModelError> {
        let known: Option<Vec<Tensor<3>>> = texts.iter().map(|text| self.known.get(*text).cloned()).collect();
        match known {
            Some(known) => Ok(known.into_iter().map(Ok).collect()),
            None => encoder.with(|encoder| {
                texts
                    .iter()
                    .map(|text| self.read(text, encoder, device))
                    .collect()
            }),
        }
    }

    fn read(&mut self, text: &str, encoder: &TextEncoder, device: &Device) -> Result<Tensor<3>, ModelError> {
        if let Some(known) = self.known.get(text) {
            return Ok(known.clone());
        }
        let chunks = chunks(text, self.style, &self.tokenizer, self.length)?;
        // Each chunk alone, so that a description reads the same whatever else is read.
        let read = chunks.iter().map(|chunk| weighted(chunk, encoder, device));
        let embedded = Tensor::cat(read.collect(), 1);
        self.known.put(text.to_owned(), embedded.clone());
        Ok(embedded)
    }
}

/// What is not wanted and a description, as two rows of equal length: the shorter is filled with empty chunks.
///
/// # Shapes
/// `[2, tokens, width]`
pub(super) fn beside(negative: &Tensor<3>, description: Tensor<3>, empty: &Tensor<3>) -> Tensor<3> {
    let length = description.dims()[1].max(negative.dims()[1]);
    let filled = |tokens: Tensor<3>| {
        let missing = (length - tokens.dims()[1]) / empty.dims()[1];
        let filling = (0..missing).map(|_| empty.clone());
        Tensor::cat(std::iter::once(tokens).chain(filling).collect(), 1)
    };
    Tensor::cat(vec![filled(negative.clone()), filled(description)], 0)
}

/// A chunk's tokens, each multiplied by its weight, brought back to the mean they had.
///
/// # Shapes
/// `[1, length, width]`
fn weighted(chunk: &Chunk, encoder: &TextEncoder, device: &Device) -> Tensor<3> {
    let tokens = encoder
        .forward(std::slice::from_ref(&chunk.ids), device)
        .cast(DType::F32);
    if chunk.weights.iter().all(|&weight| weight == 1.0) {
        return tokens;
    }
    let weights = TensorData::new(chunk.weights.clone(), [1, chunk.weights.len(), 1]);
    let before = tokens.clone().mean();
    let weighted = tokens * Tensor::<3>::from_data(weights, device);
    let after = weighted.clone().mean();
    weighted * (before / after).reshape([1, 1, 1])
}

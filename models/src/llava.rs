//! LLaVA: a vision tower, a projector and a language model that reads image patches as tokens.
//!
//! This file joins the parts: pixels to features, tokens and features to embeddings, embeddings to log-probabilities of
//! completions. Adapters are in `llava/adapter.rs`, the configuration in `llava/config.rs`, decoding in
//! [`crate::sampling`].

mod adapter;
mod any_res;
mod backward;
mod config;

pub(crate) use adapter::{adapted_module, is_factor};
pub use config::LlavaConfig;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation};

use crate::attention::causal_bias;
use crate::batch::{CompletionBatch, TokenRows};
use crate::clip::ClipVisionTower;
use crate::image_features::ImageFeatures;
use crate::linear::Linear;
use crate::llama::{LlamaForCausalLm, Positions, Rope};
use crate::log_probs::{CompletionLogProbs, CompletionLogits};
use crate::processor::Grid;

/// LLaVA ("Visual instruction tuning", [arXiv 2304.08485](https://arxiv.org/abs/2304.08485)): features
/// `H = projector(vision_tower(image))` stand among the token embeddings of the language model.
#[derive(Module, Debug)]
pub struct Llava {
    /// Pixels to patch features.
    pub vision_tower: ClipVisionTower,
    /// Patch features to the language model's width.
    pub multi_modal_projector: Projector,
    /// The decoder and its head.
    pub language_model: LlamaForCausalLm,
    /// What stands behind every row of features of an image in several tiles, `[hidden]`: LLaVA 1.6's.
    pub image_newline: Option<Param<Tensor<1>>>,
    /// Layer of the tower whose output is read, counted from the end.
    pub vision_feature_layer: i64,
    /// Rotary angle per position of each pair of channels of a head.
    #[module(skip)]
    pub inverse_frequencies: Vec<f64>,
}

/// `linear_2(gelu(linear_1(x)))` with the exact GELU.
#[derive(Module, Debug)]
pub struct Projector {
    /// Into the language model's width.
    pub linear_1: Linear,
    /// Within it.
    pub linear_2: Linear,
}

/// What goes through the decoder in one pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecoderRows<'a> {
    pub(crate) tokens: &'a TokenRows,
    /// Those of the rows' images.
    pub(crate) features: Option<&'a ImageFeatures>,
    /// The first position whose state is wanted.
    pub(crate) keep: usize,
}

/// Normalised pixels of images.
#[derive(Debug, Clone)]
pub struct PixelBatch {
    /// The tiles of all images, `[tiles, channels, side, side]`.
    pub tiles: Tensor<4>,
    /// How each image's tiles lie; `None` for one that is a single tile.
    pub grids: Vec<Option<Grid>>,
}

/// How many tiles an image has.
fn tiles(grid: &Option<Grid>) -> usize {
    grid.as_ref().map_or(1, |grid| 1 + grid.rows * grid.columns)
}

impl Projector {
    /// # Shapes
    /// `[images, patches, vision]` -> `[images, patches, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.linear_2.forward(activation::gelu(self.linear_1.forward(x)))
    }
}

impl Llava {
    /// Image features as the language model reads them. They depend on no adapter, so that they can be computed once
    /// per image and kept; while the whole model is trained they belong into the graph of each step.
    ///
    /// # Panics
    /// When an image has several tiles and the model no newline.
    pub fn encode_images(&self, images: &PixelBatch) -> ImageFeatures {
        let features = self
            .vision_tower
            .patch_features(images.tiles.clone(), self.vision_feature_layer);
        let features = self.multi_modal_projector.forward(features);
        if images.grids.iter().all(Option::is_none) {
            return ImageFeatures::of_one_length(features);
        }
        let [_, patches, hidden] = features.dims();
        let mut seen = 0;
        let tokens = images.grids.iter().map(|grid| {
            let count = tiles(grid);
            let tiles = features.clone().narrow(0, seen, count);
            seen += count;
            match grid {
                Some(grid) => self.join_tiles(tiles, grid),
                None => tiles.reshape([patches, hidden]),
            }
        });
        let tokens: Vec<Tensor<2>> = tokens.collect();
        let lengths = tokens.iter().map(|tokens| tokens.dims()[0]).collect();
        ImageFeatures::new(Tensor::cat(tokens, 0), lengths)
    }

    /// Log-probability of every completion token of `batch` given what stands before it. The head is applied at
    /// completion positions only.
    ///
    /// `features` are those of the batch's images, in or out of an autodiff graph; they may be `None` when it has none.
    /// On a model with gradients every call must be followed by its backward pass: Burn keeps the graph of one that is
    /// not. Score without gradients on `valid()`.
    ///
    /// # Panics
    /// When the features are not of as many tokens as the batch was collated with.
    pub fn completion_log_probs(
        &self,
        batch: &CompletionBatch,
        features: Option<&ImageFeatures>,
    ) -> CompletionLogProbs {
        self.completion_logits(batch, features).log_probs()
    }

    /// What those log-probabilities are made of.
    ///
    /// # Panics
    /// As [`completion_log_probs`](Self::completion_log_probs).
    pub fn completion_logits(
        &self,
        batch: &CompletionBatch,
        features: Option<&ImageFeatures>,
    ) -> CompletionLogits {
        let rows = DecoderRows {
            tokens: &batch.inputs,
            features,
            keep: batch.first_predicting(),
        };
        self.logits_of_hidden(self.hidden(&rows), batch)
    }

    /// The decoder's states from `keep` on, before the last norm.
    ///
    /// # Shapes
    /// `[rows, length - keep, hidden]`
    pub(crate) fn hidden(&self, rows: &DecoderRows<'_>) -> Tensor<3> {
        let x = self.embed(rows.tokens, rows.features);
        let positions = self.positions(rows.tokens);
        self.language_model.model.forward(x, &positions, rows.keep, None)
    }

    /// What the head says of the hidden states in front of the completion tokens.
    ///
    /// # Shapes
    /// `[rows, completion_length, hidden]`
    fn logits_of_hidden(&self, hidden: Tensor<3>, batch: &CompletionBatch) -> CompletionLogits {
        let [rows, length, width] = hidden.dims();
        let logits = self
            .language_model
            .logits(hidden.reshape([rows * length, width]))
            .cast(DType::F32);
        CompletionLogits::new(logits, batch, &self.constants_device())
    }

    /// Embeddings of a rectangle of tokens and image patches.
    ///
    /// # Shapes
    /// `[rows, length, hidden]`
    pub(crate) fn embed(&self, tokens: &TokenRows, features: Option<&ImageFeatures>) -> Tensor<3> {
        let device = self.constants_device();
        let indices = |values: &[i64]| -> Tensor<1, Int> {
            Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device)
        };
        let text = self
            .language_model
            .model
            .embed_tokens
            .forward(indices(&tokens.text_ids));
        let width = text.dims()[1];
        let embedded = match &tokens.order {
            None => text,
            Some(order) => {
                let features = features.expect("a batch with images comes with their features");
                let patches = features.tokens().cast(text.dtype());
                let count = patches.dims()[0];
                assert_eq!(
                    count, tokens.image_tokens,
                    "features are those of the batch's images"
                );
                Tensor::cat(vec![text, patches], 0).select(0, indices(order))
            }
        };
        embedded.reshape([tokens.rows(), tokens.length, width])
    }

    /// Rotations and the causal mask of rows that are read from their beginning.
    pub(crate) fn positions(&self, tokens: &TokenRows) -> Positions {
        let device = self.constants_device();
        let bias = causal_bias(&tokens.padding, tokens.length, &device);
        let rope = self.rope(tokens.length);
        Positions {
            rope,
            bias: Some(bias.cast(self.dtype())),
        }
    }

    /// Rotation tables of the first `length` positions.
    pub(crate) fn rope(&self, length: usize) -> Rope {
        Rope::new(
            0..length,
            &self.inverse_frequencies,
            self.dtype(),
            &self.constants_device(),
        )
    }

    /// The number format of the weights, an adapter left aside.
    pub(crate) fn dtype(&self) -> DType {
        self.language_model.model.embed_tokens.weight.val().dtype()
    }

    /// Where constants are made: the weights' device, outside autodiff, where they cost no bookkeeping.
    pub(crate) fn constants_device(&self) -> Device {
        self.language_model
            .model
            .embed_tokens
            .weight
            .val()
            .device()
            .without_autodiff()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use burn::tensor::Tolerance;

    use super::*;
    use crate::batch::{CompletionRow, collate};
    use crate::policy::Policy;
    use crate::presets::tests::{grouped_and_adapted, picture, policy};

    const IMAGE: u32 = 3;

    fn features(policy: &Policy) -> ImageFeatures {
        policy
            .image_features(&[&picture(255, 0, 0), &picture(0, 0, 255)])
            .unwrap()
    }

    fn log_probs(policy: &Policy, rows: &[CompletionRow<'_>]) -> Vec<Vec<f32>> {
        let features = features(policy);
        let batch = collate(rows, features.lengths(), &policy.config.row_limits()).unwrap();
        let scored = policy.model.completion_log_probs(&batch, Some(&features));
        let width = batch.completion_length();
        let values: Vec<f32> = scored.token_log_probs.into_data().try_into_vec().unwrap();
        rows.iter()
            .zip(values.chunks(width))
            .map(|(row, values)| values[..row.completion_ids.len()].to_vec())
            .collect()
    }

    /// Rows of several lengths with and without an image; the images are those of two pictures.
    pub(crate) fn rows() -> [CompletionRow<'static>; 4] {
        let row = |prompt_ids, image, completion_ids| CompletionRow {
            prompt_ids,
            image,
            completion_ids,
        };
        [
            row(&[1, IMAGE, 20, 21], Some(1), &[22, 23, 24, 2]),
            row(&[1, 20], None, &[22, 2]),
            row(&[1, 30, 31, IMAGE, 32], Some(0), &[2]),
            row(&[1, 30, 31, 32, 33, 34, 35], None, &[40, 41, 42]),
        ]
    }

    #[test]
    fn a_row_in_a_mixed_padded_batch_equals_the_row_alone() {
        for policy in [policy(1), grouped_and_adapted(1)] {
            for (row, together) in rows().iter().zip(log_probs(&policy, &rows())) {
                let alone = log_probs(&policy, &[*row]).remove(0);
                assert_eq!(alone.len(), together.len());
                for (alone, together) in alone.iter().zip(&together) {
                    assert!((alone - together).abs() < 1e-5, "{alone} {together}");
                }
            }
        }
    }

    #[test]
    fn log_probs_equal_a_log_softmax_over_the_whole_sequence() {
        let policy = policy(1);
        let row = CompletionRow {
            prompt_ids: &[1, 20, 21],
            image: None,
            completion_ids: &[22, 2],
        };
        // The completion moved into the prompt, one token at a time, must give the same conditional probabilities.
        let whole = log_probs(&policy, &[row]).remove(0);
        let last = CompletionRow {
            prompt_ids: &[1, 20, 21, 22],
            image: None,
            completion_ids: &[2],
        };
        assert!((whole[1] - log_probs(&policy, &[last]).remove(0)[0]).abs() < 1e-5);
        // All next tokens together have probability one.
        let total: f32 = (0..policy.config.text.vocab_size as u32)
            .map(|token| {
                let row = CompletionRow {
                    prompt_ids: &[1, 20, 21],
                    image: None,
                    completion_ids: &[token],
                };
                log_probs(&policy, &[row]).remove(0)[0].exp()
            })
            .sum();
        assert!((total - 1.0).abs() < 1e-4, "{total}");
    }

    #[test]
    fn the_image_is_read() {
        let policy = policy(1);
        let row = |image| CompletionRow {
            prompt_ids: &[1, IMAGE, 20],
            image: Some(image),
            completion_ids: &[22],
        };
        assert_ne!(log_probs(&policy, &[row(0)]), log_probs(&policy, &[row(1)]));
    }

    #[test]
    fn sums_count_the_end_token_and_no_padding() {
        let policy = policy(1);
        let features = features(&policy);
        let batch = collate(&rows(), features.lengths(), &policy.config.row_limits()).unwrap();
        let scored = policy.model.completion_log_probs(&batch, Some(&features));
        let sums: Vec<f32> = scored.sums().into_data().try_into_vec().unwrap();
        for (sum, row) in sums.iter().zip(log_probs(&policy, &rows())) {
            assert!((sum - row.iter().sum::<f32>()).abs() < 1e-5);
        }
        let lengths: Vec<f32> = scored.lengths().into_data().try_into_vec().unwrap();
        assert_eq!(lengths, [4.0, 2.0, 1.0, 3.0]);
    }

    #[test]
    fn training_everything_moves_vision_projector_and_decoder() {
        let policy = policy(1);
        let model = policy.model.clone().train();
        let pixels = policy.pixels(&[&picture(255, 0, 0), &picture(0, 0, 255)]);
        let features = model.encode_images(&pixels);
        let batch = collate(&rows(), features.lengths(), &policy.config.row_limits()).unwrap();
        let scored = model.completion_log_probs(&batch, Some(&features));
        let gradients = scored.mean_negative().backward();
        let model_gradients = burn::optim::GradientsParams::from_grads(gradients, &model);
        let vision = &model.vision_tower.vision_model;
        let norm = |id| {
            model_gradients
                .get::<2>(id)
                .map(|g| g.square().sum().into_scalar::<f32>())
                .unwrap_or(0.0)
        };
        assert!(norm(vision.encoder.layers[0].self_attn.q_proj.weight.id) > 0.0);
        assert!(norm(vision.embeddings.position_embedding.weight.id) > 0.0);
        assert!(norm(model.multi_modal_projector.linear_1.weight.id) > 0.0);
        assert!(norm(model.language_model.model.embed_tokens.weight.id) > 0.0);
        assert!(norm(model.language_model.lm_head.weight.id) > 0.0);
        // Behind the selected layer nothing runs.
        assert_eq!(norm(vision.encoder.layers[2].self_attn.q_proj.weight.id), 0.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_model_and_another_seed_another() {
        let row = CompletionRow {
            prompt_ids: &[1, 20],
            image: None,
            completion_ids: &[22, 2],
        };
        let of = |seed| log_probs(&policy(seed), &[row]);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn projector_gelu_is_the_exact_one() {
        let y = activation::gelu(Tensor::<1>::from_data([1.0], &Device::flex())).into_data();
        y.assert_approx_eq::<f32>(&TensorData::from([0.841_344_7f32]), Tolerance::absolute(1e-6));
    }
}

//! The policy: a model with everything that turns words and pictures into its input and its output into words.
//!
//! Reading and writing it as a directory is in [`crate::checkpoint`].

use std::slice;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use image::RgbaImage;

use crate::batch::{CompletionRow, collate};
use crate::error::ModelError;
use crate::image_features::ImageFeatures;
use crate::llava::{Llava, LlavaConfig, PixelBatch};
use crate::processor::{ImageProcessor, Transparency};
use crate::sampling::{Finish, SampledTokens, sample_tokens};
use crate::template::PromptTemplate;
use crate::tokenizer::Tokenizer;

pub use crate::sampling::{Prompt, SamplingParams};

/// What stands for an image in a prompt that is templated already.
const IMAGE_MARK: &str = "<image>";

/// Pictures that go through the tower at once: bounds the memory of a whole catalogue's features.
const IMAGES_PER_PASS: usize = 32;

/// A multimodal language model that writes descriptions of backgrounds.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Shape of the model.
    pub config: LlavaConfig,
    /// The weights.
    pub model: Llava,
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// The words around an instruction.
    pub template: PromptTemplate,
}

/// What a run reads into a policy in place of what its directory says. Actors and learner of a run have the same: the
/// learner hands it on with the policy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyReading {
    /// The words around an instruction.
    pub template: Option<PromptTemplate>,
    /// What is seen where a picture is transparent.
    pub transparency: Option<Transparency>,
}

/// A completion as tokens and as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The end token included when it was drawn.
    pub token_ids: Vec<u32>,
    /// Natural-log softmax of the raw logits (temperature 1, nothing cut off) of each token.
    pub log_probs: Vec<f32>,
    /// Special tokens left out.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

impl Policy {
    /// The same policy, read so.
    #[must_use]
    pub fn read_as(mut self, reading: &PolicyReading) -> Self {
        if let Some(template) = &reading.template {
            self.template = template.clone();
        }
        if let Some(transparency) = reading.transparency {
            self.processor.transparency = transparency;
        }
        self
    }

    /// Ids of the templated prompt: begin token, words, and one placeholder where the image goes. Whatever the
    /// instruction says stays text.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a loaded tokenizer cannot encode it.
    pub fn prompt_ids(&self, instruction: &str, has_image: bool) -> Result<Vec<u32>, ModelError> {
        if !has_image {
            return self.join_at_images(&[&self.template.without_image(instruction)]);
        }
        let (before, after) = self.template.around_image(instruction);
        self.join_at_images(&[&before, &after])
    }

    /// Ids of a prompt that is templated already: begin token, words, and a placeholder wherever `<image>` stands.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a loaded tokenizer cannot encode it.
    pub fn raw_prompt_ids(&self, prompt: &str) -> Result<Vec<u32>, ModelError> {
        self.join_at_images(&prompt.split(IMAGE_MARK).collect::<Vec<_>>())
    }

    /// Ids of a completion with its end token.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a loaded tokenizer cannot encode it.
    pub fn completion_ids(&self, completion: &str) -> Result<Vec<u32>, ModelError> {
        let mut ids = self.tokenizer.encode(completion)?;
        ids.push(self.tokenizer.end_id());
        Ok(ids)
    }

    /// Ids of text with a placeholder between every two parts, begin token first.
    pub(crate) fn join_at_images(&self, parts: &[&str]) -> Result<Vec<u32>, ModelError> {
        let mut ids = vec![self.tokenizer.begin_id()];
        for (index, part) in parts.iter().enumerate() {
            if index == 0 {
                ids.extend(self.tokenizer.encode(part)?);
            } else {
                ids.push(self.tokenizer.image_id());
                ids.extend(self.tokenizer.encode_behind(part)?);
            }
        }
        Ok(ids)
    }

    /// Normalised pixels of pictures, on the model's device.
    pub fn pixels(&self, images: &[&RgbaImage]) -> PixelBatch {
        let side = self.processor.size;
        let (mut values, mut grids) = (vec![], vec![]);
        for image in images {
            let tiles = self.processor.process(image);
            values.extend(tiles.values);
            grids.push(tiles.grid);
        }
        let shape = [values.len() / (3 * side * side), 3, side, side];
        let dtype = self.model.dtype();
        let device = self.model.constants_device();
        PixelBatch {
            tiles: Tensor::from_data(TensorData::new(values, shape), (&device, dtype)),
            grids,
        }
    }

    /// Positions that a picture of this size takes in a prompt.
    pub fn image_tokens(&self, width: u32, height: u32) -> usize {
        let patches = self.config.vision.num_patches();
        match self.processor.grid(width, height) {
            Some(grid) => grid.tokens(patches.isqrt()),
            None => patches,
        }
    }

    /// Positions that a prompt takes, the picture of this size in it expanded: one of its tokens stands for that.
    pub fn positions(&self, prompt_ids: &[u32], picture: Option<(u32, u32)>) -> usize {
        let more = picture.map_or(0, |(width, height)| {
            self.image_tokens(width, height).saturating_sub(1)
        });
        prompt_ids.len() + more
    }

    /// Features of pictures, outside any autodiff graph: while the tower is frozen they can be kept and reused.
    ///
    /// # Errors
    /// [`ModelError::Row`] when there is no image.
    pub fn image_features(&self, images: &[&RgbaImage]) -> Result<ImageFeatures, ModelError> {
        if images.is_empty() {
            return Err(ModelError::Row {
                row: 0,
                reason: "no image given, expected at least one".into(),
            });
        }
        let model = self.model.valid();
        let features = images
            .chunks(IMAGES_PER_PASS)
            .map(|images| model.encode_images(&self.pixels(images)));
        Ok(ImageFeatures::cat(features.collect()))
    }

    /// Draws one completion per prompt, in order. `features` are those the prompts' images index.
    ///
    /// # Errors
    /// As [`sample_tokens`]; [`ModelError::Tokenizer`] when a loaded tokenizer cannot decode.
    pub fn sample(
        &self,
        prompts: &[Prompt],
        features: Option<&ImageFeatures>,
        params: &SamplingParams,
    ) -> Result<Vec<Completion>, ModelError> {
        self.sample_watched(prompts, features, params, &mut || ())
    }

    /// The same; `drawn` is called each time a token has been drawn for every row.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn sample_watched(
        &self,
        prompts: &[Prompt],
        features: Option<&ImageFeatures>,
        params: &SamplingParams,
        drawn: &mut dyn FnMut(),
    ) -> Result<Vec<Completion>, ModelError> {
        let (end_id, limits) = (self.tokenizer.end_id(), self.config.row_limits());
        let sampled = sample_tokens(&self.model, prompts, features, params, end_id, &limits, drawn)?;
        sampled.into_iter().map(|tokens| self.with_text(tokens)).collect()
    }

    /// Log-probability of each row's completion, end token included, in nats; `batch` rows go through the model at a time.
    /// `features` are those the rows' images index.
    ///
    /// # Errors
    /// [`ModelError::Row`] when a row does not fit the model.
    pub fn log_probs(
        &self,
        rows: &[CompletionRow<'_>],
        features: &ImageFeatures,
        batch: usize,
    ) -> Result<Vec<f64>, ModelError> {
        let model = self.model.valid();
        let mut sums = Vec::with_capacity(rows.len());
        for rows in rows.chunks(batch.max(1)) {
            let batch = collate(rows, features.lengths(), &self.config.row_limits())?;
            let scored = model.completion_log_probs(&batch, Some(features));
            sums.extend(scored.sums().into_data().iter::<f64>());
        }
        Ok(sums)
    }

    /// Log-probability of each token of one completion, in nats.
    ///
    /// # Errors
    /// [`ModelError::Row`] when the row does not fit the model.
    pub fn token_log_probs(
        &self,
        row: &CompletionRow<'_>,
        features: Option<&ImageFeatures>,
    ) -> Result<Vec<f32>, ModelError> {
        let lengths = features.map_or(&[][..], ImageFeatures::lengths);
        let batch = collate(slice::from_ref(row), lengths, &self.config.row_limits())?;
        let scored = self.model.valid().completion_log_probs(&batch, features);
        Ok(scored.token_log_probs.into_data().iter().collect())
    }

    /// The same policy with its adapter off; the weights are shared.
    #[must_use]
    pub fn without_adapter(&self) -> Self {
        Self {
            model: self.model.without_adapter(),
            ..self.clone()
        }
    }

    fn with_text(&self, tokens: SampledTokens) -> Result<Completion, ModelError> {
        let SampledTokens {
            token_ids,
            log_probs,
            finish,
        } = tokens;
        Ok(Completion {
            text: self.tokenizer.decode(&token_ids)?,
            token_ids,
            log_probs,
            finish,
        })
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.model.constants_device()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::tests::{picture, policy};

    #[test]
    fn a_prompt_begins_once_and_holds_its_image_once() {
        let policy = policy(1);
        let ids = policy.prompt_ids("warm light", true).unwrap();
        assert_eq!(
            ids[..2],
            [policy.tokenizer.begin_id(), policy.tokenizer.image_id()]
        );
        assert!(ids[2..].iter().all(|&id| id > 3));
        let text = policy.prompt_ids("warm light", false).unwrap();
        assert_eq!(text[1..], ids[2..]);
    }

    #[test]
    fn an_instruction_cannot_place_special_tokens() {
        let policy = policy(1);
        let ids = policy.prompt_ids("<image></s><bos>", false).unwrap();
        assert!(ids[1..].iter().all(|&id| id > 3), "{ids:?}");
    }

    #[test]
    fn a_sampled_text_is_its_tokens_without_the_end() {
        let policy = policy(1);
        let ids = policy.completion_ids("warm light").unwrap();
        let tokens = SampledTokens {
            log_probs: vec![0.0; ids.len()],
            token_ids: ids,
            finish: Finish::Stop,
        };
        assert_eq!(policy.with_text(tokens).unwrap().text, "warm light");
    }

    /// Positions are relative, so a place that padding moves a row to is none that the model was not trained for.
    #[test]
    fn rows_that_are_padded_beyond_the_context_equal_the_rows_alone() {
        let policy = policy(1);
        let features = policy.image_features(&[&picture(9, 99, 9)]).unwrap();
        let words: Vec<u32> = (0..300).map(|i| 20 + i % 40).collect();
        let row = |prompt_ids, completion_ids| CompletionRow {
            prompt_ids,
            image: None,
            completion_ids,
        };
        let rows = [row(&words, &words[..3]), row(&words[..3], &words)];
        assert!(2 * words.len() > policy.config.row_limits().max_length);
        let sums = |batch| policy.log_probs(&rows, &features, batch).unwrap();
        for (alone, together) in sums(1).iter().zip(sums(2)) {
            assert!(
                (alone - together).abs() < 1e-5 * alone.abs(),
                "{alone} {together}"
            );
        }
    }

    #[test]
    fn a_policy_describes_a_picture() {
        let policy = policy(1);
        let features = policy.image_features(&[&picture(9, 99, 9)]).unwrap();
        let ids = policy.prompt_ids("describe", true).unwrap();
        let prompts = [Prompt {
            ids,
            image: Some(0),
            seed: 1,
        }];
        let completions = policy
            .sample(&prompts, Some(&features), &SamplingParams::plain(4))
            .unwrap();
        assert_eq!(completions.len(), 1);
        assert!(policy.image_features(&[]).is_err());
    }
}

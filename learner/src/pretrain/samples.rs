//! Corpus samples as rows and pixels, batch after batch, in an order fixed by the seed.

use super::PretrainConfig;
use super::rows::picture;
use crate::error::LearnerError;
use crossbeam::channel::Sender;
use data::{Corpus, CorpusSample};
use image::RgbaImage;
use models::ModelError;
use models::batch::{CompletionBatch, CompletionRow, collate};
use models::llava::PixelBatch;
use models::policy::Policy;

/// Where batches come from.
pub(super) struct SampleSource<'a> {
    /// Its words, pictures and context; its weights are not used.
    pub(super) policy: &'a Policy,
    /// The samples.
    pub(super) corpus: &'a dyn Corpus,
    /// Sizes.
    pub(super) config: &'a PretrainConfig,
    /// The stream of samples.
    pub(super) seed: u64,
}

/// What one optimizer step is taken on.
pub(super) struct SampleBatch {
    /// Its parts.
    pub(super) micro_batches: Vec<SampleMicroBatch>,
}

/// Rows with and without an image.
pub(super) struct SampleMicroBatch {
    /// Prompts and completions.
    pub(super) rows: CompletionBatch,
    /// Of the rows that have an image, `[images, 3, side, side]`; `None` when none has.
    pub(super) pixels: Option<PixelBatch>,
}

impl SampleBatch {
    /// Completion tokens, padding not counted.
    pub(super) fn completion_tokens(&self) -> usize {
        self.micro_batches
            .iter()
            .map(|part| part.rows.completion_tokens())
            .sum()
    }
}

impl SampleSource<'_> {
    /// Sends every batch in order, until all are sent, one fails, or nobody listens.
    pub(super) fn send_all(&self, batches: &Sender<Result<SampleBatch, LearnerError>>) {
        for step in 0..self.config.steps() {
            let batch = self.batch(step);
            let failed = batch.is_err();
            if batches.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn batch(&self, step: u64) -> Result<SampleBatch, LearnerError> {
        let first = step * self.config.batch as u64;
        let samples: Vec<CorpusSample> = (0..self.config.batch as u64)
            .map(|i| self.corpus.sample(first + i, self.seed))
            .collect();
        let size = self.config.batch.div_ceil(self.config.micro_batches);
        let micro_batches = samples.chunks(size).enumerate().map(|(part, samples)| {
            let first = first + (part * size) as u64;
            self.micro_batch(samples).map_err(|error| of_sample(error, first))
        });
        let micro_batches = micro_batches.collect::<Result<_, _>>()?;
        Ok(SampleBatch { micro_batches })
    }

    fn micro_batch(&self, samples: &[CorpusSample]) -> Result<SampleMicroBatch, ModelError> {
        let mut tokens = Vec::with_capacity(samples.len());
        for sample in samples {
            let prompt = self
                .policy
                .prompt_ids(&sample.instruction, sample.image.is_some())?;
            tokens.push((prompt, self.policy.completion_ids(&sample.completion)?));
        }
        let mut pictures: Vec<&RgbaImage> = vec![];
        let mut rows = Vec::with_capacity(samples.len());
        for (sample, (prompt_ids, completion_ids)) in samples.iter().zip(&tokens) {
            let image = sample.image.as_ref().map(|image| {
                pictures.push(picture(self.corpus, image));
                pictures.len() - 1
            });
            rows.push(CompletionRow {
                prompt_ids,
                image,
                completion_ids,
            });
        }
        let lengths: Vec<usize> = pictures
            .iter()
            .map(|picture| self.policy.image_tokens(picture.width(), picture.height()))
            .collect();
        let rows = collate(&rows, &lengths, &self.policy.config.row_limits())?;
        let pixels = (!pictures.is_empty()).then(|| self.policy.pixels(&pictures));
        Ok(SampleMicroBatch { rows, pixels })
    }
}

/// The fault of a row of a micro-batch as one of the sample that stands there.
fn of_sample(error: ModelError, first: u64) -> LearnerError {
    match error {
        ModelError::Row { row, reason } => LearnerError::Sample {
            sample: first + row as u64,
            reason,
        },
        other => other.into(),
    }
}

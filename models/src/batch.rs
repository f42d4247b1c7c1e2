//! Rows of prompt and completion, laid out on the host for one forward pass.
//!
//! Prompts are padded on the left and completions on the right, so that in every row the completion begins at the same
//! index: the positions that need logits are one contiguous slice. Everything is validated here, with the row named;
//! the networks behind may assume well-formed input. A batch holds no device tensor, so one batch serves the policy on
//! an autodiff device and the reference without one.

mod token_rows;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::ModelError;

use token_rows::prompt_lengths;
pub(crate) use token_rows::{PromptTokens, TokenRows};

/// What a row must respect, read off a model's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLimits {
    /// Id of the placeholder in a prompt; it may be the number behind the last token.
    pub image_token_id: u32,
    /// Ids are below this.
    pub vocab_size: usize,
    /// Longest row, image tokens included and padding not.
    pub max_length: usize,
}

/// A row that a model's context has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its prompt takes {prompt} positions{}, the model's context has {context}", of_completion(*completion))]
pub struct TooLong {
    /// Positions of the prompt, its image expanded.
    pub prompt: usize,
    /// Tokens of the completion; 0 without one.
    pub completion: usize,
    /// Positions that the model has.
    pub context: usize,
}

fn of_completion(tokens: usize) -> String {
    match tokens {
        0 => String::new(),
        tokens => format!(" and its completion {tokens}"),
    }
}

impl TooLong {
    /// The same as the fault of the longest completion that is to be sampled.
    pub fn of_sampling(self) -> ModelError {
        ModelError::Room {
            max_new_tokens: self.completion,
            prompt: self.prompt,
            context: self.context,
        }
    }

    /// The same as the fault of a row of a batch.
    fn of_row(self, row: usize) -> ModelError {
        let reason = self.to_string();
        ModelError::Row { row, reason }
    }
}

impl RowLimits {
    /// Refuses a prompt of so many positions, its image expanded, with a completion of so many tokens. Padding does not count:
    /// positions are relative, so a row computes the same wherever in a batch's rectangle it stands, and one that fits alone
    /// fits beside any others.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn check(&self, prompt: usize, completion: usize) -> Result<(), TooLong> {
        let context = self.max_length;
        // The last token of a completion is predicted, never read.
        if prompt.saturating_add(completion.saturating_sub(1)) <= context {
            return Ok(());
        }
        Err(TooLong {
            prompt,
            completion,
            context,
        })
    }
}

/// One completion under its prompt.
#[derive(Debug, Clone, Copy)]
pub struct CompletionRow<'a> {
    /// Prompt with its begin token; one image placeholder where the image goes, or none.
    pub prompt_ids: &'a [u32],
    /// The image that the placeholder stands for, by its place among the image features; `None` when the prompt has no placeholder.
    pub image: Option<usize>,
    /// Completion with its end token; at least one token.
    pub completion_ids: &'a [u32],
}

/// Several rows, padded to one rectangle.
#[derive(Debug, Clone)]
pub struct CompletionBatch {
    pub(crate) inputs: TokenRows,
    /// Longest prompt, image tokens counted: the index of the first completion token.
    prompt_length: usize,
    /// Longest completion.
    completion_length: usize,
    targets: Vec<i64>,
    mask: Vec<f32>,
}

/// Lays out `rows`. Their images are indices into image features of `image_lengths` tokens
/// ([`ImageFeatures::lengths`](crate::image_features::ImageFeatures::lengths)).
///
/// # Errors
/// [`ModelError::Row`] when a row is empty, names an unknown token or image, has an image without a placeholder, a
/// placeholder without an image or more than one, or is too long; also when there is no row at all.
pub fn collate(
    rows: &[CompletionRow<'_>],
    image_lengths: &[usize],
    limits: &RowLimits,
) -> Result<CompletionBatch, ModelError> {
    let prompts = rows
        .iter()
        .map(|row| (row.prompt_ids, row.image))
        .collect::<Vec<_>>();
    for (index, row) in rows.iter().enumerate() {
        check_ids(
            index,
            "completion",
            row.completion_ids,
            |id| (id as usize) < limits.vocab_size,
            limits,
        )?;
    }
    let lengths = prompt_lengths(&prompts, image_lengths, limits)?;
    for (index, (row, &prompt)) in rows.iter().zip(&lengths).enumerate() {
        let fits = limits.check(prompt, row.completion_ids.len());
        fits.map_err(|error| error.of_row(index))?;
    }
    let completion_length = rows.iter().map(|row| row.completion_ids.len()).max().unwrap_or(0);
    // The last token of a completion is only predicted, never read.
    let read = completion_length.saturating_sub(1);
    let tails = rows
        .iter()
        .map(|row| &row.completion_ids[..row.completion_ids.len().min(read)]);
    let tails: Vec<&[u32]> = tails.collect();
    let inputs = TokenRows::new(&prompts, &lengths, &tails, read, image_lengths, limits);
    let cells = || {
        rows.iter()
            .flat_map(|row| (0..completion_length).map(|position| row.completion_ids.get(position)))
    };
    Ok(CompletionBatch {
        prompt_length: inputs.length - read,
        inputs,
        completion_length,
        targets: cells().map(|id| id.map_or(0, |&id| i64::from(id))).collect(),
        mask: cells().map(|id| if id.is_some() { 1.0 } else { 0.0 }).collect(),
    })
}

impl CompletionBatch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.inputs.rows()
    }

    /// Length of the longest completion, its end token counted.
    pub fn completion_length(&self) -> usize {
        self.completion_length
    }

    /// The position that predicts the first completion token: the one before it.
    pub(crate) fn first_predicting(&self) -> usize {
        self.prompt_length - 1
    }

    /// Positions of the padded rectangle that go through the decoder, padding counted.
    pub fn positions(&self) -> usize {
        self.inputs.rows() * self.inputs.length
    }

    /// Completion tokens, padding not counted.
    pub fn completion_tokens(&self) -> usize {
        self.mask.iter().filter(|&&cell| cell > 0.0).count()
    }

    /// Ids to be predicted, 0 where padded.
    ///
    /// # Shapes
    /// `[rows, completion_length]`
    pub fn targets(&self, device: &Device) -> Tensor<2, Int> {
        let shape = [self.rows(), self.completion_length];
        Tensor::from_data(TensorData::new(self.targets.clone(), shape), device)
    }

    /// 1 at completion tokens, 0 where padded.
    ///
    /// # Shapes
    /// `[rows, completion_length]`
    pub fn mask(&self, device: &Device) -> Tensor<2> {
        let shape = [self.rows(), self.completion_length];
        Tensor::from_data(TensorData::new(self.mask.clone(), shape), device)
    }
}

fn check_ids(
    row: usize,
    part: &str,
    ids: &[u32],
    is_known: impl Fn(u32) -> bool,
    limits: &RowLimits,
) -> Result<(), ModelError> {
    let reason = match ids.iter().find(|&&id| !is_known(id)) {
        Some(id) => format!(
            "the {part} has token {id}, the vocabulary ends before {}",
            limits.vocab_size
        ),
        None if ids.is_empty() => format!("the {part} is empty, expected at least one token"),
        None => return Ok(()),
    };
    Err(ModelError::Row { row, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RowLimits = RowLimits {
        image_token_id: 9,
        vocab_size: 10,
        max_length: 8,
    };

    fn row<'a>(prompt_ids: &'a [u32], image: Option<usize>, completion_ids: &'a [u32]) -> CompletionRow<'a> {
        CompletionRow {
            prompt_ids,
            image,
            completion_ids,
        }
    }

    #[test]
    fn prompts_are_padded_left_and_completions_right_and_the_last_token_is_not_read() {
        let batch = collate(
            &[row(&[1, 2], None, &[3]), row(&[4], None, &[5, 6])],
            &[],
            &LIMITS,
        )
        .unwrap();
        assert_eq!(batch.inputs.text_ids, [1, 2, 3, 0, 4, 5]);
        assert_eq!(batch.inputs.padding, [0, 1]);
        assert_eq!(batch.inputs.order, None);
        assert_eq!(batch.targets, [3, 0, 5, 6]);
        assert_eq!(batch.mask, [1.0, 0.0, 1.0, 1.0]);
        assert_eq!(batch.completion_tokens(), 3);
    }

    #[test]
    fn an_image_takes_its_patches_and_text_keeps_its_order() {
        let batch = collate(
            &[row(&[1, 9, 2], Some(1), &[3]), row(&[4], None, &[5])],
            &[3, 2],
            &LIMITS,
        )
        .unwrap();
        // Text: 1 2, padding 0 0 0, 4. Patches of image 1 are rows 2 and 3 of the features.
        assert_eq!(batch.inputs.text_ids, [1, 2, 0, 0, 0, 4]);
        assert_eq!(batch.inputs.order, Some(vec![0, 6 + 3, 6 + 4, 1, 2, 3, 4, 5]));
        assert_eq!(batch.inputs.padding, [0, 3]);
    }

    #[test]
    fn a_malformed_row_is_refused_with_its_number() {
        let good = row(&[1], None, &[2]);
        let bad = [
            row(&[], None, &[2]),
            row(&[1], None, &[]),
            row(&[10], None, &[2]),
            row(&[1], None, &[10]),
            row(&[1], Some(0), &[2]),
            row(&[9], None, &[2]),
            row(&[9, 9], Some(0), &[2]),
            row(&[9], Some(1), &[2]),
            row(&[1, 1, 1, 1, 1, 1, 1, 1, 1], None, &[2]),
        ];
        for bad in bad {
            let error = collate(&[good, bad], &[2], &LIMITS).unwrap_err();
            assert!(
                matches!(error, ModelError::Row { row: 1, .. }),
                "{bad:?}: {error}"
            );
        }
        assert!(collate(&[], &[], &LIMITS).is_err());
    }

    #[test]
    fn a_row_that_fits_alone_fits_beside_any_other() {
        // Together they are a rectangle of 6 + 6 positions, and each row has 8 of its own.
        let (asks, tells) = (row(&[1; 6], None, &[2; 3]), row(&[1; 2], None, &[3; 7]));
        for alone in [asks, tells] {
            assert!(collate(&[alone], &[], &LIMITS).is_ok());
        }
        let batch = collate(&[asks, tells], &[], &LIMITS).unwrap();
        assert_eq!((batch.inputs.length, batch.first_predicting()), (12, 5));
        let refusal = collate(&[asks, row(&[1; 3], None, &[3; 7])], &[], &LIMITS).unwrap_err();
        let said = "row 1: its prompt takes 3 positions and its completion 7, the model's context has 8";
        assert_eq!(refusal.to_string(), said);
    }

    #[test]
    fn a_placeholder_id_inside_a_completion_is_an_ordinary_token() {
        let batch = collate(&[row(&[1], None, &[9, 2])], &[], &LIMITS).unwrap();
        assert_eq!(batch.inputs.text_ids, [1, 9]);
    }
}

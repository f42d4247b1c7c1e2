//! Rows of prompt and completion, laid out on the host for one forward pass.
//!
//! Prompts are padded on the left and completions on the right, so that in every row the completion begins at the same
//! index: the positions that need logits are one contiguous slice. Everything is validated here, with the row named;
//! the networks behind may assume well-formed input. A batch holds no device tensor, so one batch serves the policy on
//! an autodiff device and the reference without one.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::ModelError;

/// What a row must respect, read off a model's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLimits {
    /// Id of the placeholder in a prompt; it may be the number behind the last token.
    pub image_token_id: u32,
    /// Ids are below this.
    pub vocab_size: usize,
    /// Longest padded row, image tokens included.
    pub max_length: usize,
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
    let completion_length = rows.iter().map(|row| row.completion_ids.len()).max().unwrap_or(0);
    // The last token of a completion is only predicted, never read.
    let read = completion_length.saturating_sub(1);
    let tails = rows
        .iter()
        .map(|row| &row.completion_ids[..row.completion_ids.len().min(read)]);
    let (inputs, prompt_length) =
        TokenRows::new(&prompts, &tails.collect::<Vec<_>>(), read, image_lengths, limits)?;
    let cells = || {
        rows.iter()
            .flat_map(|row| (0..completion_length).map(|position| row.completion_ids.get(position)))
    };
    Ok(CompletionBatch {
        inputs,
        prompt_length,
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

/// Tokens of a prompt and the image that its placeholder stands for.
pub(crate) type PromptTokens<'a> = (&'a [u32], Option<usize>);

/// A rectangle of positions, each a token of the vocabulary or a patch of an image.
///
/// Embedding it is a gather from `[embeddings of the text tokens; image features]`: `text_ids` are looked up in order,
/// and `order` says for every position which row of that table it takes.
#[derive(Debug, Clone)]
pub(crate) struct TokenRows {
    pub(crate) text_ids: Vec<i64>,
    /// `None` when there is no image: the text is in order already.
    pub(crate) order: Option<Vec<i64>>,
    /// Padded positions at the head of each row.
    pub(crate) padding: Vec<usize>,
    pub(crate) length: usize,
    /// Tokens of the images that `order` was laid out with.
    pub(crate) image_tokens: usize,
}

impl TokenRows {
    /// Prompts padded on the left to the longest, each followed by its tail padded on the right to `tail_length`.
    /// Returns the padded prompt length too.
    pub(crate) fn new(
        prompts: &[PromptTokens<'_>],
        tails: &[&[u32]],
        tail_length: usize,
        image_lengths: &[usize],
        limits: &RowLimits,
    ) -> Result<(Self, usize), ModelError> {
        if prompts.is_empty() {
            return Err(ModelError::Row {
                row: 0,
                reason: "the batch has no row, expected at least one".into(),
            });
        }
        let mut lengths = Vec::with_capacity(prompts.len());
        for (row, &(ids, image)) in prompts.iter().enumerate() {
            lengths.push(prompt_length(row, ids, image, image_lengths, limits)?);
        }
        let prompt_length = lengths.iter().copied().max().unwrap_or(0);
        let length = prompt_length + tail_length;
        if length > limits.max_length {
            let row = lengths
                .iter()
                .position(|&length| length == prompt_length)
                .unwrap_or(0);
            let reason = format!(
                "{length} positions with padding, the model has {}",
                limits.max_length
            );
            return Err(ModelError::Row { row, reason });
        }
        let padding: Vec<usize> = lengths.iter().map(|length| prompt_length - length).collect();
        let mut writer = RowWriter::new(image_lengths);
        for ((&(ids, image), tail), &padding) in prompts.iter().zip(tails).zip(&padding) {
            writer.text(std::iter::repeat_n(0, padding));
            writer.prompt(ids, image, limits);
            writer.text(tail.iter().copied());
            writer.text(std::iter::repeat_n(0, tail_length - tail.len()));
        }
        let (text_ids, order) = writer.finish();
        Ok((
            Self {
                text_ids,
                order,
                padding,
                length,
                image_tokens: image_lengths.iter().sum(),
            },
            prompt_length,
        ))
    }

    pub(crate) fn rows(&self) -> usize {
        self.padding.len()
    }
}

/// Collects positions before the size of the text table is known.
struct RowWriter {
    /// The tokens of each image among those of all.
    images: Vec<Range<usize>>,
    text_ids: Vec<i64>,
    sources: Vec<Source>,
    has_image: bool,
}

enum Source {
    Text(usize),
    Patch(usize),
}

impl RowWriter {
    fn new(image_lengths: &[usize]) -> Self {
        let images = image_lengths.iter().scan(0, |end, length| {
            let start = *end;
            *end += length;
            Some(start..*end)
        });
        Self {
            images: images.collect(),
            text_ids: vec![],
            sources: vec![],
            has_image: false,
        }
    }

    fn text(&mut self, ids: impl Iterator<Item = u32>) {
        for id in ids {
            self.sources.push(Source::Text(self.text_ids.len()));
            self.text_ids.push(i64::from(id));
        }
    }

    fn prompt(&mut self, ids: &[u32], image: Option<usize>, limits: &RowLimits) {
        for &id in ids {
            match image.filter(|_| id == limits.image_token_id) {
                Some(image) => {
                    self.sources.extend(self.images[image].clone().map(Source::Patch));
                    self.has_image = true;
                }
                None => self.text(std::iter::once(id)),
            }
        }
    }

    fn finish(self) -> (Vec<i64>, Option<Vec<i64>>) {
        let text = self.text_ids.len();
        let index = |source| match source {
            Source::Text(index) => index as i64,
            Source::Patch(index) => (text + index) as i64,
        };
        let order = self
            .has_image
            .then(|| self.sources.into_iter().map(index).collect());
        (self.text_ids, order)
    }
}

/// Positions that a prompt takes, its image expanded.
fn prompt_length(
    row: usize,
    ids: &[u32],
    image: Option<usize>,
    image_lengths: &[usize],
    limits: &RowLimits,
) -> Result<usize, ModelError> {
    let is_known = |id| (id as usize) < limits.vocab_size || id == limits.image_token_id;
    check_ids(row, "prompt", ids, is_known, limits)?;
    let placeholders = ids.iter().filter(|&&id| id == limits.image_token_id).count();
    let failed = |reason: String| Err(ModelError::Row { row, reason });
    match (placeholders, image) {
        (0, None) => Ok(ids.len()),
        (1, Some(image)) => match image_lengths.get(image) {
            Some(tokens) => Ok(ids.len() - 1 + tokens),
            None => failed(format!(
                "image {image}, but there are features of {} image(s)",
                image_lengths.len()
            )),
        },
        (1, None) => failed("the prompt has an image placeholder but no image was given".into()),
        (0, Some(_)) => failed("an image was given but the prompt has no image placeholder".into()),
        (count, _) => failed(format!(
            "the prompt has {count} image placeholders, expected at most one"
        )),
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
    fn a_placeholder_id_inside_a_completion_is_an_ordinary_token() {
        let batch = collate(&[row(&[1], None, &[9, 2])], &[], &LIMITS).unwrap();
        assert_eq!(batch.inputs.text_ids, [1, 9]);
    }
}

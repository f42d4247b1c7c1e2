//! A rectangle of tokens and patches: where in it each stands, and which padding is around them.

use std::ops::Range;

use super::{RowLimits, check_ids};
use crate::error::ModelError;

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
    /// Prompts padded on the left to the longest, each followed by its tail padded on the right to `tail_length`. `lengths` are
    /// the prompts' [lengths](prompt_lengths); whether rows fit the model is the caller's to [check](RowLimits::check), for only
    /// it knows what of a tail is read.
    pub(crate) fn new(
        prompts: &[PromptTokens<'_>],
        lengths: &[usize],
        tails: &[&[u32]],
        tail_length: usize,
        image_lengths: &[usize],
        limits: &RowLimits,
    ) -> Self {
        let prompt_length = lengths.iter().copied().max().unwrap_or(0);
        let padding: Vec<usize> = lengths.iter().map(|length| prompt_length - length).collect();
        let mut writer = RowWriter::new(image_lengths);
        for ((&(ids, image), tail), &padding) in prompts.iter().zip(tails).zip(&padding) {
            writer.text(std::iter::repeat_n(0, padding));
            writer.prompt(ids, image, limits);
            writer.text(tail.iter().copied());
            writer.text(std::iter::repeat_n(0, tail_length - tail.len()));
        }
        let (text_ids, order) = writer.finish();
        Self {
            text_ids,
            order,
            padding,
            length: prompt_length + tail_length,
            image_tokens: image_lengths.iter().sum(),
        }
    }

    /// Prompts alone, each of which must fit the model.
    ///
    /// # Errors
    /// [`ModelError::Row`] with the first that is malformed or too long.
    pub(crate) fn of_prompts(
        prompts: &[PromptTokens<'_>],
        image_lengths: &[usize],
        limits: &RowLimits,
    ) -> Result<Self, ModelError> {
        let lengths = prompt_lengths(prompts, image_lengths, limits)?;
        for (row, &length) in lengths.iter().enumerate() {
            limits.check(length, 0).map_err(|error| error.of_row(row))?;
        }
        let tails = vec![&[][..]; prompts.len()];
        Ok(Self::new(prompts, &lengths, &tails, 0, image_lengths, limits))
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

/// Positions that each prompt takes, its image expanded.
///
/// # Errors
/// [`ModelError::Row`] without any prompt, and with the first that is malformed.
pub(crate) fn prompt_lengths(
    prompts: &[PromptTokens<'_>],
    image_lengths: &[usize],
    limits: &RowLimits,
) -> Result<Vec<usize>, ModelError> {
    if prompts.is_empty() {
        return Err(ModelError::Row {
            row: 0,
            reason: "the batch has no row, expected at least one".into(),
        });
    }
    let length = |(row, &(ids, image))| prompt_length(row, ids, image, image_lengths, limits);
    prompts.iter().enumerate().map(length).collect()
}

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

//! Whether every pair of a file fits the policy's context, in its own row and as a negative under another one's: seen before the
//! first step, because one that does not would end the training when its turn comes.

use crate::config::{LossConfig, LossMode};
use crate::error::LearnerError;
use crate::partners::Partners;
use data::{Catalogue as _, FilePlaces, PreferenceFile};
use models::ModelError;
use models::batch::RowLimits;
use models::policy::Policy;

/// The tokens of a pair's chosen and rejected answer.
pub(super) type Answers = [Vec<u32>; 2];

/// What a pair takes of the context.
struct Row {
    /// Positions of its prompt but for the picture's.
    words: usize,
    picture: usize,
    answers: Answers,
}

/// The answers of every pair as tokens. `partners` are those of the file's rows.
///
/// # Errors
/// [`LearnerError::Rows`] with every row that the policy cannot read.
pub(super) fn encoded(
    pairs: &PreferenceFile,
    policy: &Policy,
    loss: &LossConfig,
    partners: &Partners,
) -> Result<Vec<Answers>, LearnerError> {
    let (mut rows, mut faults) = (vec![], vec![]);
    for index in 0..pairs.preferences().len() {
        match row(pairs, index, policy) {
            Ok(row) => rows.push(row),
            Err(error) => faults.push((index, error.to_string())),
        }
    }
    let places = pairs.file_places();
    if faults.is_empty() {
        let limits = policy.config.row_limits();
        faults.extend(own_faults(&rows, limits));
        if faults.is_empty() && loss.has_negatives() {
            let negatives = Negatives {
                rows: &rows,
                limits,
                mode: loss.mode,
                partners,
            };
            faults.extend(negatives.faults(places));
        }
    }
    match faults.is_empty() {
        true => Ok(rows.into_iter().map(|row| row.answers).collect()),
        false => Err(places.refusal(faults).into()),
    }
}

fn row(pairs: &PreferenceFile, index: usize, policy: &Policy) -> Result<Row, ModelError> {
    let (product, pair) = (&pairs.products()[index], &pairs.preferences()[index]);
    Ok(Row {
        // One of them stands for the picture.
        words: policy.prompt_ids(&product.caption, true)?.len() - 1,
        picture: policy.image_tokens(product.image.width(), product.image.height()),
        answers: [
            policy.completion_ids(&pair.chosen)?,
            policy.completion_ids(&pair.rejected)?,
        ],
    })
}

fn own_faults(rows: &[Row], limits: RowLimits) -> impl Iterator<Item = (usize, String)> {
    let context = limits.max_length;
    rows.iter().enumerate().filter_map(move |(index, row)| {
        let prompt = row.words + row.picture;
        let [chosen, rejected] = [&row.answers[0], &row.answers[1]].map(Vec::len);
        let (which, tokens) = if chosen >= rejected { ("chosen", chosen) } else { ("rejected", rejected) };
        let fault = || {
            format!(
                "its prompt takes {prompt} positions, the picture included, and its {which} answer {tokens}; the policy's context \
                 has {context}"
            )
        };
        limits.check(prompt, tokens).is_err().then(|| (index, fault()))
    })
}

/// Rows whose chosen answers are also scored where they do not belong.
struct Negatives<'a> {
    rows: &'a [Row],
    limits: RowLimits,
    mode: LossMode,
    partners: &'a Partners,
}

impl Negatives<'_> {
    /// Rows whose chosen answer does not fit behind the longest prompt that it may be put behind.
    fn faults(&self, places: &FilePlaces) -> Vec<(usize, String)> {
        // The longest come first, so that the first possible one decides.
        let mut others: Vec<usize> = (0..self.rows.len()).collect();
        others.sort_by_key(|&other| std::cmp::Reverse(self.brings(other)));
        let fault = |index: usize| {
            let other = *others.iter().find(|&&other| self.may_meet(other, index))?;
            let prompt = self.keeps(index) + self.brings(other);
            let (tokens, context) = (self.rows[index].answers[0].len(), self.limits.max_length);
            let number = places.row(other);
            let fault = || {
                format!(
                    "as a negative its chosen answer of {tokens} tokens stands behind {} of row {number}, in a prompt of {prompt} \
                     positions; the policy's context has {context}: shorten one of them, or set learner.loss.mode to dpo or \
                     mask_only",
                    self.brought()
                )
            };
            self.limits
                .check(prompt, tokens)
                .is_err()
                .then(|| (index, fault()))
        };
        (0..self.rows.len()).filter_map(fault).collect()
    }

    /// Whether the negative of `index`, or the one that it is in, takes anything from `other`.
    fn may_meet(&self, other: usize, index: usize) -> bool {
        match self.mode {
            LossMode::Dpo | LossMode::MaskOnly => false,
            LossMode::JointSwap | LossMode::Paper | LossMode::CaptionOnly => {
                self.partners.may_stand_in(other, index)
            }
            LossMode::Compat => other != index,
        }
    }

    /// Positions that a prompt takes from another row.
    fn brings(&self, other: usize) -> usize {
        let Row { words, picture, .. } = &self.rows[other];
        match self.mode {
            LossMode::Dpo | LossMode::MaskOnly => 0,
            LossMode::JointSwap => words + picture,
            LossMode::Paper | LossMode::CaptionOnly => *words,
            LossMode::Compat => *picture,
        }
    }

    /// Positions of it that are the row's own.
    fn keeps(&self, index: usize) -> usize {
        let Row { words, picture, .. } = &self.rows[index];
        match self.mode {
            LossMode::Dpo | LossMode::MaskOnly => words + picture,
            LossMode::JointSwap => 0,
            LossMode::Paper | LossMode::CaptionOnly => *picture,
            LossMode::Compat => *words,
        }
    }

    fn brought(&self) -> &'static str {
        match self.mode {
            LossMode::Paper | LossMode::CaptionOnly => "the words",
            LossMode::Compat => "the picture",
            LossMode::Dpo | LossMode::MaskOnly | LossMode::JointSwap => "the prompt",
        }
    }
}

//! CAIG's reward model as it is served: every ordered pair of a group as one picture of both.
//!
//! The reference asks about two creatives once, in the order in which they were drawn (`pcpo_reward_gen.py`). Here every
//! pair is asked about in both orders and the answers are averaged, so that its taste for a side cancels.

use super::{BatchUnit, CreativeGroup, Preparation, RawScores, ServedModel};
use crate::error::RewardError;
use crate::orientation::{OrientedMargins, ordered_pairs};
use crate::questions::check_questions;
use crate::scorer::ScoreFailure;
use common::Digest;
use data::{FilePlaces, Product};
use image::{RgbImage, buffer::ConvertBuffer as _};
use models::ModelError;
use models::ctr::{CaigReward, Calibration};
use std::sync::Arc;

/// CAIG's reward model and what it is asked.
#[derive(Debug, Clone)]
pub struct ServedCaig {
    model: CaigReward,
    question: String,
}

impl ServedCaig {
    /// A model that is asked `question`, in which `{caption}` stands for the caption.
    pub fn new(model: CaigReward, question: String) -> Self {
        Self { model, question }
    }

    /// Whether it can be asked about each of these products, given by their index; `places` are those of a file's products.
    ///
    /// # Errors
    /// [`RewardError::Config`], [`RewardError::Rows`] or [`RewardError::Question`] when it cannot.
    pub fn check<'a>(
        &self,
        products: impl IntoIterator<Item = (usize, &'a Product)>,
        places: Option<&FilePlaces>,
    ) -> Result<(), RewardError> {
        check_questions(&self.model, &self.question, products, places)
    }

    /// The margins of every group, all in the same passes.
    ///
    /// # Errors
    /// [`ModelError`] of the first caption that makes a question which does not fit.
    fn margins(
        &self,
        groups: &[CreativeGroup],
        max_batch: usize,
    ) -> Result<Vec<OrientedMargins>, ModelError> {
        let prompt = |group: &CreativeGroup| {
            let question = CaigReward::question_about(&self.question, &group.caption);
            self.model.prompt_ids(&question)
        };
        let prompts: Vec<Vec<u32>> = groups.iter().map(prompt).collect::<Result<_, _>>()?;
        let mut ordered: Vec<((&RgbImage, &RgbImage), &[u32])> = vec![];
        for (group, prompt) in groups.iter().zip(&prompts) {
            let creatives = &group.creatives;
            let pairs = ordered_pairs(creatives.len());
            ordered.extend(pairs.map(|(left, right)| ((&creatives[left], &creatives[right]), &prompt[..])));
        }
        let mut margins = Vec::with_capacity(ordered.len());
        for chunk in ordered.chunks(max_batch) {
            let (pairs, prompts): (Vec<(&RgbImage, &RgbImage)>, Vec<&[u32]>) = chunk.iter().copied().unzip();
            let compared = self.model.compare_asked(&pairs, &prompts)?;
            margins.extend(compared.iter().map(|answer| answer.logits[0] - answer.logits[1]));
        }
        let mut margins = margins.into_iter();
        let oriented =
            |group: &CreativeGroup| OrientedMargins::of_ordered(group.creatives.len(), margins.by_ref());
        Ok(groups.iter().map(oriented).collect())
    }
}

impl ServedModel for ServedCaig {
    /// Its square in the picture of two.
    type Creative = RgbImage;

    fn form(&self) -> String {
        "caig".into()
    }

    fn digest(&self) -> Result<Digest, ModelError> {
        Ok(Digest::from_bytes(self.model.digest_asked(&self.question)))
    }

    fn preparation(&self) -> Preparation<Self::Creative> {
        let processor = self.model.processor().clone();
        Arc::new(move |creative| CaigReward::square(&processor, &creative.convert()))
    }

    fn calibration(&self) -> Calibration {
        self.model.calibration
    }

    fn batch_unit(&self) -> BatchUnit {
        BatchUnit::OrderedPairs
    }

    fn raw_scores(&self, groups: &[CreativeGroup], max_batch: usize) -> Vec<Result<RawScores, ScoreFailure>> {
        match self.margins(groups, max_batch) {
            Ok(margins) => {
                let raw = |margins: OrientedMargins| RawScores {
                    scores: margins.scores(),
                    margins,
                };
                margins.into_iter().map(|margins| Ok(raw(margins))).collect()
            }
            // The error is that of one group; the others are innocent.
            Err(_) if groups.len() > 1 => groups
                .chunks(1)
                .flat_map(|group| self.raw_scores(group, max_batch))
                .collect(),
            Err(error) => vec![Err(ScoreFailure::of_model(error))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::score_groups;
    use burn::tensor::{DType, Device};
    use image::{Rgb, RgbaImage};
    use std::path::Path;

    fn served(question: &str) -> ServedCaig {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/fixtures/caig-reward/1");
        let model = CaigReward::load(&directory, &Device::flex(), DType::F32, &mut |_, _| ()).unwrap();
        ServedCaig::new(model, question.into())
    }

    /// A gradient, so that halves of the picture of two differ inside too.
    fn creative(shade: u8) -> RgbImage {
        RgbImage::from_fn(24, 16, |x, y| {
            Rgb([shade, 10 * x as u8, shade.wrapping_add(12 * y as u8)])
        })
    }

    fn group(caption: &str, shades: &[u8]) -> CreativeGroup {
        CreativeGroup {
            caption: caption.into(),
            creatives: shades.iter().map(|&shade| creative(shade)).collect(),
        }
    }

    #[test]
    fn a_reward_is_the_mean_margin_over_the_group_of_both_orders() {
        let served = served("Which one?");
        let shades = [0, 120, 240];
        let pictures: Vec<RgbaImage> = shades.iter().map(|&shade| creative(shade).convert()).collect();
        let logits = |left: usize, right: usize| {
            let answer = served
                .model
                .compare(&pictures[left], &pictures[right], "Which one?");
            let [of_left, of_right] = answer.unwrap().logits;
            of_left - of_right
        };
        let margin = |a: usize, b: usize| match a == b {
            true => 0.0,
            false => (logits(a, b) - logits(b, a)) / 2.0,
        };
        for max_batch in [1, 4, 64] {
            let scores = score_groups(&served, &[group("red", &shades)], max_batch)
                .remove(0)
                .unwrap();
            for (a, reward) in scores.rewards.iter().enumerate() {
                let expected = (0..3).map(|b| margin(a, b)).sum::<f64>() / 3.0;
                assert!((reward - expected).abs() < 1e-4, "{reward} is not {expected}");
                assert!(expected.abs() > 1e-3, "nothing to tell apart: {expected}");
            }
            assert!(scores.rewards.iter().sum::<f64>().abs() < 1e-5);
            assert!(scores.confidence >= 0.5);
        }
    }

    #[test]
    fn a_question_has_the_caption_where_it_asks_for_it() {
        let scores = |question: &str, caption: &str| {
            score_groups(&served(question), &[group(caption, &[0, 200])], 8)
                .remove(0)
                .unwrap()
        };
        assert_eq!(
            scores("Which of {caption}?", "red chairs"),
            scores("Which of red chairs?", "")
        );
        assert_ne!(
            scores("Which of {caption}?", "red chairs"),
            scores("Which of {caption}?", "lamps")
        );
        assert_eq!(scores("Which one?", "red chairs"), scores("Which one?", "lamps"));
        // A caption that names the placeholder is text like any other.
        assert_ne!(
            scores("Which of {caption}?", "<image>"),
            scores("Which of {caption}?", "lamps")
        );
    }

    #[test]
    fn another_question_is_another_reward_model() {
        let digest = |question: &str| served(question).digest().unwrap();
        assert_eq!(digest("Which one?"), digest("Which one?"));
        assert_ne!(digest("Which one?"), digest("Which?"));
    }

    #[test]
    fn a_question_that_does_not_fit_fails_its_group() {
        let long = "which part ".repeat(4_000);
        let failed = score_groups(
            &served("{caption}"),
            &[group(&long, &[0, 200]), group("red", &[0, 200])],
            8,
        );
        assert!(matches!(failed[0], Err(ScoreFailure::Model { .. })), "{failed:?}");
        assert!(failed[1].is_ok());
    }
}

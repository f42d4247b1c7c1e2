//! CAIG's reward model as it is served: every ordered pair of a group as one picture of both.
//!
//! The reference asks about two creatives once, in the order in which they were drawn (`pcpo_reward_gen.py`). Here every
//! pair is asked about in both orders and the answers are averaged, so that its taste for a side cancels.

use super::{Preparation, PreparedGroup, RawScores, ServedModel};
use crate::orientation::OrientedMargins;
use crate::scorer::ScoreFailure;
use common::Digest;
use image::{RgbImage, buffer::ConvertBuffer as _};
use models::ModelError;
use models::ctr::{CaigReward, Calibration};
use std::sync::Arc;

/// Where a question has the caption.
const CAPTION: &str = "{}";

/// CAIG's reward model and what it is asked.
#[derive(Debug)]
pub struct ServedCaig {
    model: CaigReward,
    question: String,
}

impl ServedCaig {
    /// A model that is asked `question`, in which `{}` stands for the caption.
    pub fn new(model: CaigReward, question: String) -> Self {
        Self { model, question }
    }

    /// The difference of the two logits for every ordered pair, in the order in which [`OrientedMargins::new`] asks.
    fn margins(&self, group: &PreparedGroup<RgbImage>, max_batch: usize) -> Result<Vec<f64>, ModelError> {
        let question = self.question.replace(CAPTION, &group.caption);
        let all = || group.creatives.iter().enumerate();
        let ordered: Vec<(&RgbImage, &RgbImage)> = all()
            .flat_map(|left| all().map(move |right| (left, right)))
            .filter(|((left, _), (right, _))| left != right)
            .map(|((_, left), (_, right))| (left, right))
            .collect();
        let mut margins = Vec::with_capacity(ordered.len());
        for pairs in ordered.chunks(max_batch) {
            let compared = self.model.compare_squares(pairs, &question)?;
            margins.extend(compared.iter().map(|answer| answer.logits[0] - answer.logits[1]));
        }
        Ok(margins)
    }
}

impl ServedModel for ServedCaig {
    /// Its square in the picture of two.
    type Creative = RgbImage;

    fn form(&self) -> String {
        "caig".into()
    }

    fn digest(&self) -> Result<Digest, ModelError> {
        Ok(Digest::from_bytes(self.model.digest()))
    }

    fn preparation(&self) -> Preparation<Self::Creative> {
        let processor = self.model.processor().clone();
        Arc::new(move |creative| CaigReward::square(&processor, &creative.convert()))
    }

    /// None: the softmax of two logits is the probability already.
    fn calibration(&self) -> Calibration {
        Calibration::default()
    }

    fn raw_scores(
        &self,
        groups: Vec<PreparedGroup<Self::Creative>>,
        max_batch: usize,
    ) -> Vec<Result<RawScores, ScoreFailure>> {
        let answer = |group: PreparedGroup<RgbImage>| {
            let margins = self.margins(&group, max_batch).map_err(ScoreFailure::of_model)?;
            let mut margins = margins.into_iter();
            let margins =
                OrientedMargins::new(group.creatives.len(), |_, _| margins.next().unwrap_or(f64::NAN));
            Ok(RawScores {
                scores: margins.scores(),
                margins,
            })
        };
        groups.into_iter().map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::{CreativeGroup, score_groups};
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
            scores("Which of {}?", "red chairs"),
            scores("Which of red chairs?", "")
        );
        assert_ne!(
            scores("Which of {}?", "red chairs"),
            scores("Which of {}?", "lamps")
        );
        assert_eq!(scores("Which one?", "red chairs"), scores("Which one?", "lamps"));
    }

    #[test]
    fn a_question_that_does_not_fit_fails_its_group() {
        let long = "which part ".repeat(4_000);
        let failed = score_groups(
            &served("{}"),
            &[group(&long, &[0, 200]), group("red", &[0, 200])],
            8,
        );
        assert!(matches!(failed[0], Err(ScoreFailure::Model { .. })), "{failed:?}");
        assert!(failed[1].is_ok());
    }
}

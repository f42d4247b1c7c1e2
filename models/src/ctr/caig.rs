//! CAIG's published reward model, which `checkpoint/caig.rs` reads: the body of LLaVA over one picture that shows both creatives, with a head for two classes.
//!
//! [`Concat`](super::Concat) is the same idea as a network that is trained here and takes creatives apart; this one reads the
//! reference's checkpoints and computes what they were trained to: one picture of ratio 2:1 through the checkpoint's own
//! processor, the question behind it, no system text, the state of the last token.

use burn::module::Module;
use burn::tensor::Tensor;
use image::{RgbImage, RgbaImage, buffer::ConvertBuffer, imageops};

use crate::batch::TokenRows;
use crate::error::ModelError;
use crate::linear::Linear;
use crate::llava::Llava;
use crate::policy::Policy;
use crate::processor::{ImageProcessor, bicubic};

/// Side of a creative in the picture of both, in pixels (`pcpo_reward_gen.py`).
const SIDE: u32 = 512;

/// The first of the reference's questions without a caption (`shuffle_ali_data_postprocess.py`), which is what its rewards are
/// asked with.
pub const CAIG_QUESTION: &str =
    "Comparing the left part and right part of this image, which part is more suitable for advertising?";

/// The first of the reference's questions with a caption.
pub const CAIG_QUESTION_WITH_CAPTION: &str = "Comparing the left part and right part of this image, which part is more suitable for the product '{caption}'?";

/// What stands for the caption in a question, as in a catalogue's instructions.
const CAPTION: &str = "{caption}";

/// Behind the question: `conv_vicuna_v1` without its system text and `USER: `, which the reference takes off.
const ANSWER: &str = " ASSISTANT:";

/// The network under the reference's names: a body whose head is `score`, and the head of click-through rates where the
/// checkpoint has one.
#[derive(Module, Debug)]
pub(crate) struct CaigNetwork {
    /// LLaVA; its `lm_head` is the head for two classes.
    pub(crate) body: Llava,
    /// `sku_ctr_linear_fc.0`; trained, never used for the choice.
    pub(crate) sku_ctr_linear_fc: Vec<Linear>,
}

impl CaigNetwork {
    /// Classes of the head, left and right.
    pub(crate) const CLASSES: usize = 2;
}

/// CAIG's reward model, ready to compare.
#[derive(Debug, Clone)]
pub struct CaigReward {
    /// The body; its head has two rows.
    pub(crate) policy: Policy,
    /// The head of click-through rates, or nothing.
    pub(crate) ctr: Vec<Linear>,
    /// BLAKE3 over the names and contents of its weight files, as `inspect` shows it.
    pub digest: [u8; 32],
}

/// What it says of two creatives, index 0 for the left one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Logits of "this one is clicked more".
    pub logits: [f64; 2],
    /// Click-through rates, the raw outputs; `None` where the checkpoint has no such head.
    pub ctr: Option<[f64; 2]>,
}

impl CaigReward {
    /// What tells its answers to `question` from all others: BLAKE3 of its digest and the question.
    pub fn digest_asked(&self, question: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest).update(question.as_bytes());
        hasher.finalize().into()
    }

    /// `question` with the caption where it asks for it.
    pub fn question_about(question: &str, caption: &str) -> String {
        question.replace(CAPTION, caption)
    }

    /// What turns creatives into [squares](Self::square).
    pub fn processor(&self) -> &ImageProcessor {
        &self.policy.processor
    }

    /// Compares two creatives, the first on the left, under `question` (no placeholder, no line break before it). What is
    /// transparent shows the mean colour.
    ///
    /// # Errors
    /// [`ModelError::Row`] when the question does not fit the model, [`ModelError::Tokenizer`] when it cannot be encoded.
    pub fn compare(
        &self,
        left: &RgbaImage,
        right: &RgbaImage,
        question: &str,
    ) -> Result<Comparison, ModelError> {
        let [left, right] = [left, right].map(|creative| Self::square(&self.policy.processor, creative));
        let compared = self.compare_squares(&[(&left, &right)], question)?;
        Ok(compared[0])
    }

    /// A creative as it stands in the picture of two.
    pub fn square(processor: &ImageProcessor, creative: &RgbaImage) -> RgbImage {
        bicubic(&processor.composite(creative), SIDE, SIDE)
    }

    /// Compares pairs of [squares](Self::square), the first of a pair on the left, in one pass.
    ///
    /// # Errors
    /// As [`compare`](Self::compare).
    pub fn compare_squares(
        &self,
        pairs: &[(&RgbImage, &RgbImage)],
        question: &str,
    ) -> Result<Vec<Comparison>, ModelError> {
        let prompt = format!("<image>\n{question}{ANSWER}");
        let ids = self.policy.raw_prompt_ids(&prompt)?;
        let pictures: Vec<RgbaImage> = pairs
            .iter()
            .map(|(left, right)| side_by_side(left, right))
            .collect();
        let features = self.policy.image_features(&pictures.iter().collect::<Vec<_>>())?;
        let rows: Vec<_> = (0..pairs.len()).map(|image| (&ids[..], Some(image))).collect();
        let tails: Vec<&[u32]> = vec![&[]; pairs.len()];
        let limits = self.policy.config.row_limits();
        let (tokens, length) = TokenRows::new(&rows, &tails, 0, features.lengths(), &limits)?;
        let model = &self.policy.model;
        let x = model.embed(&tokens, Some(&features));
        let positions = model.positions(&tokens);
        let language_model = &model.language_model;
        let last = language_model.model.forward(x, &positions, length - 1, None);
        let pooled: Tensor<3> = language_model.model.norm.forward(last);
        let logits = twos(language_model.lm_head.forward(pooled.clone()));
        let ctr = self.ctr.first().map(|head| twos(head.forward(pooled)));
        let comparison = |(row, &logits)| Comparison {
            logits,
            ctr: ctr.as_ref().map(|ctr| ctr[row]),
        };
        Ok(logits.iter().enumerate().map(comparison).collect())
    }
}

/// Both creatives as one picture.
fn side_by_side(left: &RgbImage, right: &RgbImage) -> RgbaImage {
    let mut both = RgbImage::new(2 * SIDE, SIDE);
    for (place, square) in [(0, left), (SIDE, right)] {
        imageops::replace(&mut both, square, place.into(), 0);
    }
    both.convert()
}

/// The two numbers of each row.
fn twos(tensor: Tensor<3>) -> Vec<[f64; 2]> {
    let values: Vec<f64> = tensor.into_data().iter().collect();
    values.chunks_exact(2).map(|two| [two[0], two[1]]).collect()
}

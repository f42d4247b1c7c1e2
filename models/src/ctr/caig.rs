//! CAIG's published reward model, which `checkpoint/caig.rs` reads: the body of LLaVA over one picture that shows both creatives, with a head for two classes.
//!
//! [`Concat`](super::Concat) is the same idea as a network that is trained here and takes creatives apart; this one reads the
//! reference's checkpoints and computes what they were trained to: one picture of ratio 2:1 through the checkpoint's own
//! processor, the question behind it, no system text, the state of the last token.

use burn::tensor::Tensor;
use image::{RgbImage, RgbaImage, buffer::ConvertBuffer, imageops};

use super::Calibration;
use super::caig_network::{CaigAnswer, CaigNetwork, PairRows};
use crate::batch::{TokenRows, TooLong};
use crate::error::ModelError;
use crate::linear::Linear;
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

/// CAIG's reward model, ready to compare.
#[derive(Debug, Clone)]
pub struct CaigReward {
    /// The body with what turns words and pictures into its input; its head has two rows.
    pub(crate) policy: Policy,
    /// The head of click-through rates, or nothing.
    pub(crate) ctr: Vec<Linear>,
    /// What its margins mean. By itself the softmax of its two logits is the probability; one that is trained here is calibrated.
    pub calibration: Calibration,
    /// BLAKE3 over the names and contents of the weight files it was read from, as `inspect` shows it.
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
    /// What tells its answers to `question` from all others: BLAKE3 of its digest, its calibration if it has one, and the question.
    pub fn digest_asked(&self, question: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest);
        let Calibration {
            reward_scale,
            temperature,
            ctr_intercept,
        } = self.calibration;
        // Models without one keep the digest that runs have recorded.
        if self.calibration != Calibration::default() {
            for number in [reward_scale, temperature, ctr_intercept] {
                hasher.update(&number.to_le_bytes());
            }
        }
        hasher.update(question.as_bytes());
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
        let prompt = self.prompt_ids(question)?;
        self.compare_asked(pairs, &vec![&prompt[..]; pairs.len()])
    }

    /// The same with a [prompt](Self::prompt_ids) of its own for each pair.
    ///
    /// # Errors
    /// [`ModelError::Row`] with the pair whose prompt does not fit the model.
    pub fn compare_asked(
        &self,
        pairs: &[(&RgbImage, &RgbImage)],
        prompts: &[&[u32]],
    ) -> Result<Vec<Comparison>, ModelError> {
        let rows = self.lay_out(pairs, prompts)?;
        let CaigAnswer { logits, ctr } = self.network().forward(&rows);
        let (logits, ctr) = (twos(logits), ctr.map(twos));
        let comparison = |(row, &logits)| Comparison {
            logits,
            ctr: ctr.as_ref().map(|ctr| ctr[row]),
        };
        Ok(logits.iter().enumerate().map(comparison).collect())
    }

    /// Ids of a question behind a placeholder where the picture goes. Whatever the question says stays text.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be encoded.
    pub fn prompt_ids(&self, question: &str) -> Result<Vec<u32>, ModelError> {
        self.policy
            .join_at_images(&["", &format!("\n{question}{ANSWER}")])
    }

    /// Whether such ids fit the model, whatever the picture behind them shows.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn check_prompt(&self, prompt: &[u32]) -> Result<(), TooLong> {
        let positions = self.policy.positions(prompt, Some((2 * SIDE, SIDE)));
        self.policy.config.row_limits().check(positions, 0)
    }

    /// Lays out pairs of [squares](Self::square), the first of a pair on the left, each with what is asked of it, for one
    /// pass. The vision tower sees them here.
    ///
    /// # Errors
    /// [`ModelError::Row`] when a prompt does not fit the model or there is no pair.
    pub fn lay_out(
        &self,
        pairs: &[(&RgbImage, &RgbImage)],
        prompts: &[&[u32]],
    ) -> Result<PairRows, ModelError> {
        let pictures: Vec<RgbaImage> = pairs
            .iter()
            .map(|(left, right)| side_by_side(left, right))
            .collect();
        let features = self.policy.image_features(&pictures.iter().collect::<Vec<_>>())?;
        let rows = prompts.iter().enumerate();
        let rows: Vec<_> = rows.map(|(image, prompt)| (*prompt, Some(image))).collect();
        let limits = self.policy.config.row_limits();
        let tokens = TokenRows::of_prompts(&rows, features.lengths(), &limits)?;
        Ok(PairRows {
            length: tokens.length,
            tokens,
            features,
        })
    }

    /// The body and its heads, which share every weight with these.
    pub fn network(&self) -> CaigNetwork {
        CaigNetwork {
            body: self.policy.model.clone(),
            sku_ctr_linear_fc: self.ctr.clone(),
        }
    }

    /// The same with another network of its shape.
    #[must_use]
    pub fn with_network(mut self, network: CaigNetwork) -> Self {
        self.policy.model = network.body;
        self.ctr = network.sku_ctr_linear_fc;
        self
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
fn twos(tensor: Tensor<2>) -> Vec<[f64; 2]> {
    let values: Vec<f64> = tensor.into_data().iter().collect();
    values.chunks_exact(2).map(|two| [two[0], two[1]]).collect()
}

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
use crate::processor::bicubic;

/// Side of a creative in the picture of both, in pixels (`pcpo_reward_gen.py`).
const SIDE: u32 = 512;

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

/// CAIG's reward model, ready to compare.
#[derive(Debug, Clone)]
pub struct CaigReward {
    /// The body; its head has two rows.
    pub(crate) policy: Policy,
    /// The head of click-through rates, or nothing.
    pub(crate) ctr: Vec<Linear>,
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
    /// Compares two creatives, the first on the left, under `question` (no placeholder, no line break before it).
    ///
    /// # Errors
    /// [`ModelError::Row`] when the question does not fit the model, [`ModelError::Tokenizer`] when it cannot be encoded.
    pub fn compare(
        &self,
        left: &RgbaImage,
        right: &RgbaImage,
        question: &str,
    ) -> Result<Comparison, ModelError> {
        let prompt = format!("<image>\n{question}{ANSWER}");
        let ids = self.policy.raw_prompt_ids(&prompt)?;
        let features = self.policy.image_features(&[&self.side_by_side(left, right)])?;
        let limits = self.policy.config.row_limits();
        let (tokens, length) = TokenRows::new(&[(&ids, Some(0))], &[&[]], 0, features.lengths(), &limits)?;
        let model = &self.policy.model;
        let x = model.embed(&tokens, Some(&features));
        let positions = model.positions(&tokens);
        let language_model = &model.language_model;
        let last = language_model.model.forward(x, &positions, length - 1, None);
        let pooled: Tensor<3> = language_model.model.norm.forward(last);
        let two = |tensor: Tensor<3>| {
            let values: Vec<f64> = tensor.into_data().iter().collect();
            [values[0], values[1]]
        };
        Ok(Comparison {
            logits: two(language_model.lm_head.forward(pooled.clone())),
            ctr: self.ctr.first().map(|head| two(head.forward(pooled))),
        })
    }

    /// Both creatives as one picture; what is transparent shows the mean colour.
    pub(crate) fn side_by_side(&self, left: &RgbaImage, right: &RgbaImage) -> RgbaImage {
        let mut both = RgbImage::new(2 * SIDE, SIDE);
        for (place, creative) in [(0, left), (SIDE, right)] {
            let square = bicubic(&self.policy.processor.composite(creative), SIDE, SIDE);
            imageops::replace(&mut both, &square, place.into(), 0);
        }
        both.convert()
    }
}

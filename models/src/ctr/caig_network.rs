//! The network of CAIG's reward model: LLaVA over one picture of both creatives, two heads on the state of the last token.
//!
//! It is trained as the policy is: an adapter beside the frozen body. The heads are small and trained whole.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};

use crate::batch::TokenRows;
use crate::error::ModelError;
use crate::image_features::ImageFeatures;
use crate::init::stream_seed;
use crate::linear::{Linear, LinearConfig};
use crate::llava::{DecoderRows, Llava, is_factor};
use crate::lora::LoraConfig;
use crate::weights::train_only;

/// The network under the reference's names: a body whose head is `score`, and the head of click-through rates where the
/// checkpoint has one.
#[derive(Module, Debug)]
pub struct CaigNetwork {
    /// LLaVA; its `lm_head` is the head for two classes.
    pub(crate) body: Llava,
    /// `sku_ctr_linear_fc.0`; trained, never used for the choice.
    pub(crate) sku_ctr_linear_fc: Vec<Linear>,
}

/// Pictures of two creatives with what is asked of each, laid out for one pass.
#[derive(Debug, Clone)]
pub struct PairRows {
    pub(crate) tokens: TokenRows,
    /// Of the padded rows, pictures counted.
    pub(crate) length: usize,
    pub(crate) features: ImageFeatures,
}

impl PairRows {
    fn decoder_rows(&self) -> DecoderRows<'_> {
        DecoderRows {
            tokens: &self.tokens,
            features: Some(&self.features),
            keep: self.length - 1,
        }
    }
}

/// What the network says of each picture, column 0 for the left creative.
#[derive(Debug, Clone)]
pub struct CaigAnswer {
    /// Logits of "this one is clicked more", `[pairs, 2]`.
    pub logits: Tensor<2>,
    /// Click-through rates, the raw outputs, `[pairs, 2]`; `None` where there is no such head.
    pub ctr: Option<Tensor<2>>,
}

impl CaigNetwork {
    /// Classes of the head, left and right.
    pub(crate) const CLASSES: usize = 2;

    /// What it says of some pictures. The heads compute in their own number format.
    pub fn forward(&self, rows: &PairRows) -> CaigAnswer {
        self.answer(self.body.hidden(&rows.decoder_rows()))
    }

    /// The gradients of a loss of what it says, and whatever else `loss` returns; block by block with
    /// `activation_checkpointing`, as [`Llava::backward`].
    pub fn backward<O>(
        &self,
        rows: &PairRows,
        activation_checkpointing: bool,
        loss: impl FnOnce(CaigAnswer) -> (Tensor<1>, O),
    ) -> (GradientsParams, O) {
        let rows = rows.decoder_rows();
        self.body
            .backward_in(self, &rows, activation_checkpointing, |hidden| {
                loss(self.answer(hidden))
            })
    }

    /// What the heads say of the state of the last token, `[pairs, 1, hidden]`.
    fn answer(&self, last: Tensor<3>) -> CaigAnswer {
        let language_model = &self.body.language_model;
        let pooled: Tensor<3> = language_model.model.norm.forward(last);
        let [pairs, _, width] = pooled.dims();
        let pooled = pooled.reshape([pairs, width]);
        let answer = |head: &Linear| head.forward(pooled.clone().cast(head.weight.val().dtype()));
        CaigAnswer {
            logits: answer(&language_model.lm_head),
            ctr: self.sku_ctr_linear_fc.first().map(answer),
        }
    }

    /// A head on a body of this width with fresh weights from N(0, 1 / `hidden`). `name` tells the heads of one seed apart.
    pub(crate) fn fresh_head(hidden: usize, name: &str, seed: u64, device: &Device) -> Linear {
        let std = (hidden as f64).powf(-0.5);
        LinearConfig::new(hidden, Self::CLASSES).init(std, stream_seed(seed, name), device)
    }

    /// Ready to be trained on an autodiff device, where `train()` (of [`Module`]) brings it: a fresh adapter beside the
    /// body, heads in f32 and a head of click-through rates where there was none. Nothing else gets gradients.
    ///
    /// # Errors
    /// As [`LoraConfig::check`].
    pub fn trainable(mut self, config: &LoraConfig, seed: u64) -> Result<Self, ModelError> {
        self.body = self.body.with_adapter(config, seed)?;
        if self.sku_ctr_linear_fc.is_empty() {
            let head = &self.body.language_model.lm_head;
            let (hidden, device) = (head.widths().0, head.weight.lazy_device());
            let fresh = Self::fresh_head(hidden, "sku_ctr_linear_fc", seed, &device);
            self.sku_ctr_linear_fc.push(fresh);
        }
        let heads = ["body.language_model.lm_head.", "sku_ctr_linear_fc."];
        let trained = |path: &str| is_factor(path) || heads.iter().any(|head| path.starts_with(head));
        Ok(train_only(self.with_heads_in(DType::F32), trained))
    }

    /// The network for one pass of training, as [`Llava::with_adapter_dropout`].
    #[must_use]
    pub fn with_adapter_dropout(&self, rate: f64, seed: u64) -> Self {
        Self {
            body: self.body.with_adapter_dropout(rate, seed),
            ..self.clone()
        }
    }

    /// The network with its adapter folded into the weights, heads in the body's number format: what is written as a
    /// checkpoint.
    #[must_use]
    pub fn folded(mut self) -> Self {
        self.body = self.body.folded();
        let dtype = self.body.dtype();
        self.with_heads_in(dtype)
    }

    fn with_heads_in(mut self, dtype: DType) -> Self {
        let heads = self.sku_ctr_linear_fc.iter_mut();
        for head in heads.chain([&mut self.body.language_model.lm_head]) {
            head.weight = Param::from_tensor(head.weight.val().cast(dtype));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::{Rgb, RgbImage};

    use super::*;
    use crate::ctr::CaigReward;
    use crate::device::Placement;
    use crate::gradients::tests::named;

    /// On the body of a policy that cuts pictures into tiles, with an adapter of which both factors are on.
    fn network_and_rows() -> (CaigNetwork, PairRows) {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures/llava-hf-1.6/1");
        let model = CaigReward::load_base(&base, &Placement::cpu(), 3, &mut |_, _| ()).unwrap();
        let squares = [40, 220].map(|shade| RgbImage::from_pixel(512, 512, Rgb([shade, 90, 20])));
        let prompts = ["Which?", "Which of the two?"].map(|question| model.prompt_ids(question).unwrap());
        let pairs = [(&squares[0], &squares[1]), (&squares[1], &squares[0])];
        let rows = model.lay_out(&pairs, &[&prompts[0], &prompts[1]]).unwrap();
        let mut network = model.network().trainable(&LoraConfig::new(2, 4.0), 7).unwrap();
        let noisy = network.body.adapter().into_iter().map(|(name, data)| {
            let values: Vec<f32> = data
                .iter::<f32>()
                .enumerate()
                .map(|(i, v)| v + 0.05 * ((i % 7) as f32 - 3.0))
                .collect();
            (name, burn::tensor::TensorData::new(values, data.shape().clone()))
        });
        network.body = network.body.clone().load_adapter(&noisy.collect()).unwrap();
        (network, rows)
    }

    fn numbers(answer: &CaigAnswer) -> Vec<f32> {
        let ctr = answer.ctr.clone().unwrap();
        Tensor::cat(vec![answer.logits.clone(), ctr], 1)
            .into_data()
            .iter()
            .collect()
    }

    #[test]
    fn folded_it_says_the_same() {
        let (network, rows) = network_and_rows();
        let (beside, folded) = (network.forward(&rows), network.clone().folded().forward(&rows));
        for (a, b) in numbers(&beside).iter().zip(numbers(&folded)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        let base = CaigNetwork {
            body: network.body.without_adapter(),
            ..network
        };
        let apart = numbers(&beside)[0] - numbers(&base.forward(&rows))[0];
        assert!(apart.abs() > 1e-2, "the adapter does nothing: {apart}");
    }

    #[test]
    fn adapter_and_heads_get_gradients_and_block_by_block_the_same() {
        let (network, rows) = network_and_rows();
        let network = network.train();
        let gradients = |checkpointing| {
            let (gradients, ()) = network.backward(&rows, checkpointing, |CaigAnswer { logits, ctr }| {
                (logits.square().sum() + ctr.unwrap().sum(), ())
            });
            named(&network, &gradients)
        };
        let (kept, recomputed) = (gradients(false), gradients(true));
        let names: Vec<&String> = kept.keys().collect();
        assert_eq!(names, recomputed.keys().collect::<Vec<_>>());
        assert_eq!(names.len(), network.body.adapter().len() + 2, "{names:?}");
        for (name, kept) in &kept {
            let largest = kept.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert!(largest > 0.0, "{name}");
            for (a, b) in kept.iter().zip(&recomputed[name]) {
                assert!((a - b).abs() <= 1e-4 * largest, "{name}: {a} {b}");
            }
        }
    }
}

//! The way back through a LLaVA: with everything kept that the way forward computed, or block by block ("Training deep
//! nets with sublinear memory cost", [arXiv 1604.06174](https://arxiv.org/abs/1604.06174)).
//!
//! Block by block, the way forward runs outside the autodiff graph and keeps only what goes into each decoder layer; on
//! the way back one layer at a time runs again, inside it. A pass then holds the activations of one layer instead of all
//! and costs one more way forward. Burn has no such thing for a user's block, and its own checkpointing keeps every
//! matrix product.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;

use super::{DecoderRows, Llava};
use crate::batch::CompletionBatch;
use crate::image_features::ImageFeatures;
use crate::log_probs::CompletionLogits;

impl Llava {
    /// The gradients of a loss of the completions' logits, and whatever else `loss` returns.
    /// `activation_checkpointing` goes back block by block: less memory, more time, and the same result up to rounding.
    ///
    /// `features` are those of the batch's images; where they are in the autodiff graph, what made them gets its
    /// gradients.
    ///
    /// # Panics
    /// As [`completion_log_probs`](Self::completion_log_probs).
    pub fn backward<O>(
        &self,
        batch: &CompletionBatch,
        features: Option<&ImageFeatures>,
        activation_checkpointing: bool,
        loss: impl FnOnce(&CompletionLogits) -> (Tensor<1>, O),
    ) -> (GradientsParams, O) {
        let rows = DecoderRows {
            tokens: &batch.inputs,
            features,
            keep: batch.first_predicting(),
        };
        self.backward_in(self, &rows, activation_checkpointing, |hidden| {
            loss(&self.logits_of_hidden(hidden, batch))
        })
    }

    /// The same of a loss of the decoder's states, for `whole`, a network of which this model is a part.
    pub(crate) fn backward_in<M: Module, O>(
        &self,
        whole: &M,
        rows: &DecoderRows<'_>,
        activation_checkpointing: bool,
        loss: impl FnOnce(Tensor<3>) -> (Tensor<1>, O),
    ) -> (GradientsParams, O) {
        if activation_checkpointing {
            return self.backward_by_blocks(whole, rows, loss);
        }
        let (loss, output) = loss(self.hidden(rows));
        (GradientsParams::from_grads(loss.backward(), whole), output)
    }

    fn backward_by_blocks<M: Module, O>(
        &self,
        whole: &M,
        rows: &DecoderRows<'_>,
        loss: impl FnOnce(Tensor<3>) -> (Tensor<1>, O),
    ) -> (GradientsParams, O) {
        let decoder = &self.language_model.model;
        let positions = self.positions(rows.tokens);
        let embedded = self.embed(rows.tokens, rows.features);

        let mut x = embedded.clone().inner();
        let mut inputs = Vec::with_capacity(decoder.layers.len());
        for (index, layer) in decoder.valid().layers.iter().enumerate() {
            inputs.push(x.clone());
            x = layer.forward(x, &positions, decoder.first_kept(index, rows.keep), None);
        }

        let mut sum = GradientsAccumulator::new();
        let hidden = x.autodiff().require_grad();
        let (loss, output) = loss(hidden.clone());
        let gradients = loss.backward();
        let mut upstream = hidden
            .grad(&gradients)
            .expect("the loss depends on what is scored");
        sum.accumulate(whole, GradientsParams::from_grads(gradients, whole));

        for (index, input) in inputs.into_iter().enumerate().rev() {
            let layer = &decoder.layers[index];
            let x = input.autodiff().require_grad();
            let y = layer.forward(x.clone(), &positions, decoder.first_kept(index, rows.keep), None);
            // The gradient of this sum is the vector-Jacobian product.
            let gradients = (y * upstream).sum().backward();
            upstream = x.grad(&gradients).expect("a layer's output depends on its input");
            sum.accumulate(whole, GradientsParams::from_grads(gradients, layer));
        }

        if embedded.is_tracked() {
            let gradients = (embedded * upstream).sum().backward();
            sum.accumulate(whole, GradientsParams::from_grads(gradients, whole));
        }
        (sum.grads(), output)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::batch::collate;
    use crate::gradients::tests::named;
    use crate::llava::tests::rows;
    use crate::policy::Policy;
    use crate::presets::tests::{grouped_and_adapted, picture, policy};

    /// Gradients by name, and the log-probabilities' sum.
    fn gradients(
        policy: &Policy,
        model: &Llava,
        activation_checkpointing: bool,
    ) -> (BTreeMap<String, Vec<f32>>, f32) {
        let features = model.encode_images(&policy.pixels(&[&picture(255, 0, 0), &picture(0, 0, 255)]));
        let batch = collate(&rows(), features.lengths(), &policy.config.row_limits()).unwrap();
        let loss = |logits: &CompletionLogits| {
            let sums = logits.log_probs().sums();
            let total = sums.clone().sum().into_scalar::<f32>();
            (sums.square().sum(), total)
        };
        let (gradients, total) = model.backward(&batch, Some(&features), activation_checkpointing, loss);
        (named(model, &gradients), total)
    }

    fn assert_same_gradients(policy: &Policy, model: &Llava, expected_names: usize) {
        let (kept, total) = gradients(policy, model, false);
        let (recomputed, again) = gradients(policy, model, true);
        // Without the tracking of gradients kernels may add up in another order, which some processors round otherwise.
        assert!((total - again).abs() <= 1e-6 * total.abs(), "{total} {again}");
        assert_eq!(kept.len(), expected_names);
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            recomputed.keys().collect::<Vec<_>>()
        );
        let largest = |values: &[f32]| values.iter().fold(0f32, |most, value| most.max(value.abs()));
        let overall = kept.values().map(|values| largest(values)).fold(0f32, f32::max);
        for (name, expected) in &kept {
            // Some gradients are zero but for rounding, such as that of a bias of keys.
            let tolerance = 1e-5 * largest(expected) + 1e-7 * overall;
            for (a, b) in expected.iter().zip(&recomputed[name]) {
                assert!((a - b).abs() <= tolerance, "{name}: {a} {b}");
            }
        }
    }

    #[test]
    fn block_by_block_the_adapter_gets_the_same_gradients_also_under_dropout() {
        let policy = grouped_and_adapted(1);
        let model = policy.model.clone().trainable_adapter_only().train();
        for rate in [0.0, 0.25] {
            let model = model.with_adapter_dropout(rate, 7);
            assert_same_gradients(&policy, &model, policy.model.adapter().len());
        }
    }

    #[test]
    fn block_by_block_every_weight_gets_the_same_gradient() {
        let policy = policy(1);
        let model = policy.model.clone().train();
        let (kept, _) = gradients(&policy, &model, false);
        assert!(kept.contains_key("language_model.model.embed_tokens.weight"));
        assert!(kept.keys().any(|name| name.starts_with("vision_tower.")));
        assert_same_gradients(&policy, &model, kept.len());
    }
}

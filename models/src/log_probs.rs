//! Log-probabilities of given tokens, from logits.

use burn::tensor::{Int, Tensor};

/// Natural log-probabilities of a batch's completion tokens under the model: softmax of the raw logits, temperature 1.
#[derive(Debug, Clone)]
pub struct CompletionLogProbs {
    /// `[rows, completion_length]`, 0 where padded.
    pub token_log_probs: Tensor<2>,
    /// `[rows, completion_length]`: 1 at completion tokens, 0 where padded.
    pub mask: Tensor<2>,
    /// Entropy of the next-token distribution in nats, `[rows, completion_length]`, 0 where padded; without gradient,
    /// and only where it was asked for.
    pub entropy: Option<Tensor<2>>,
}

impl CompletionLogProbs {
    /// Log-probability of each whole completion, end token included.
    ///
    /// # Shapes
    /// `[rows]`
    pub fn sums(&self) -> Tensor<1> {
        self.token_log_probs.clone().sum_dim(1).squeeze_dim(1)
    }

    /// Completion tokens of each row.
    ///
    /// # Shapes
    /// `[rows]`
    pub fn lengths(&self) -> Tensor<1> {
        self.mask.clone().sum_dim(1).squeeze_dim(1)
    }

    /// Mean negative log-probability of a token over the whole batch, the loss of supervised fine-tuning.
    ///
    /// # Shapes
    /// `[1]`
    pub fn mean_negative(&self) -> Tensor<1> {
        (self.token_log_probs.clone().sum() / self.mask.clone().sum()).neg()
    }

    /// The same numbers without gradient, as for a reference.
    pub fn detach(self) -> Self {
        Self {
            token_log_probs: self.token_log_probs.detach(),
            ..self
        }
    }
}

/// `log softmax(logits)` at `targets`: `logit[target] - log Σ exp logit`. Only the sum passes over the vocabulary; the
/// table of all log-probabilities is never made.
///
/// # Shapes
/// `[positions, vocabulary]`, `[positions]` -> `[positions, 1]`
pub fn gather_log_probs(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<2> {
    let chosen = logits.clone().gather(1, targets.unsqueeze_dim(1));
    chosen - log_sum_exp(logits)
}

/// `log Σ exp logit`, shifted by the row maximum, which gets no gradient.
///
/// # Shapes
/// `[positions, vocabulary]` -> `[positions, 1]`
fn log_sum_exp(logits: Tensor<2>) -> Tensor<2> {
    let max = logits.clone().without_autodiff().max_dim(1);
    (logits - max.clone()).exp().sum_dim(1).log() + max
}

/// Entropy in nats of `softmax(logits)`: `log Σ exp logit - Σ p logit`. No gradient.
///
/// # Shapes
/// `[positions, vocabulary]` -> `[positions, 1]`
pub fn entropy(logits: Tensor<2>) -> Tensor<2> {
    let logits = logits.without_autodiff();
    let log_probs = logits.clone() - log_sum_exp(logits);
    (log_probs.clone().exp() * log_probs).sum_dim(1).neg()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance, activation};

    use super::*;
    use crate::init;

    #[test]
    fn gathered_log_probs_and_their_gradient_are_those_of_log_softmax() {
        let device = Device::flex().autodiff();
        let leaf: Tensor<2> = init::normal([3, 5], 2.0, 1, &Device::flex())
            .autodiff()
            .require_grad();
        let targets = || Tensor::<1, Int>::from_data([4, 0, 2], &device);
        let ours = gather_log_probs(leaf.clone(), targets());
        let theirs = activation::log_softmax(leaf.clone(), 1).gather(1, targets().unsqueeze_dim(1));
        let tolerance = Tolerance::absolute(1e-6);
        ours.clone()
            .into_data()
            .assert_approx_eq::<f32>(&theirs.clone().into_data(), tolerance);
        let gradient = |loss: Tensor<2>| leaf.grad(&loss.sum().backward()).unwrap().into_data();
        gradient(ours).assert_approx_eq::<f32>(&gradient(theirs), tolerance);
    }

    #[test]
    fn entropy_of_a_uniform_distribution_is_the_log_of_its_size() {
        let value = entropy(Tensor::<2>::full([1, 8], 700.0, &Device::flex())).into_data();
        value.assert_approx_eq::<f32>(&TensorData::from([[8f32.ln()]]), Tolerance::absolute(1e-4));
    }

    #[test]
    fn huge_logits_give_finite_numbers() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_data([[3.0e4, 0.0]], &device);
        let value = gather_log_probs(logits, Tensor::from_data([0], &device)).into_scalar::<f32>();
        assert_eq!(value, 0.0);
    }
}

//! What a model says of completions: logits, and the log-probabilities that follow from them.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};

use crate::batch::CompletionBatch;
use crate::token_support::TokenSupport;

/// Logits of the next token at every completion position of a batch, in f32.
#[derive(Debug, Clone)]
pub struct CompletionLogits {
    /// `[rows * completion_length, vocabulary]`.
    logits: Tensor<2>,
    /// `[rows * completion_length]`: the tokens that stand there.
    targets: Tensor<1, Int>,
    /// `[rows, completion_length]`: 1 at completion tokens, 0 where padded.
    mask: Tensor<2>,
}

impl CompletionLogits {
    /// Those of `batch`; targets and mask are made on `device`.
    ///
    /// # Shapes
    /// `[rows * completion_length, vocabulary]`
    pub(crate) fn new(logits: Tensor<2>, batch: &CompletionBatch, device: &Device) -> Self {
        let [positions, _] = logits.dims();
        Self {
            logits,
            targets: batch.targets(device).reshape([positions]),
            mask: batch.mask(device),
        }
    }

    /// The log-probabilities of the tokens that stand there.
    pub fn log_probs(&self) -> CompletionLogProbs {
        let column = gather_log_probs(self.logits.clone(), self.targets.clone());
        CompletionLogProbs {
            token_log_probs: column.reshape(self.mask.dims()) * self.mask.clone(),
            mask: self.mask.clone(),
        }
    }

    /// The tokens that are possible along some rows: those of at least `threshold` in probability, and the likeliest.
    pub fn supports(&self, rows: Range<usize>, threshold: f64) -> Vec<TokenSupport> {
        let logits = self.logits_of(&rows).without_autodiff();
        let [_, vocabulary] = logits.dims();
        let shift = log_sum_exp(logits.clone());
        let log_probs: Vec<f32> = (logits - shift).into_data().iter().collect();
        let [_, length] = self.mask.dims();
        let lengths = self.mask.clone().narrow(0, rows.start, rows.len()).sum_dim(1);
        let lengths = lengths.into_data();
        let support = |(row, tokens): (&[f32], f32)| {
            let tokens = tokens as usize;
            TokenSupport::of(&row[..tokens * vocabulary], tokens, threshold)
        };
        let of_rows = log_probs.chunks(length * vocabulary);
        of_rows.zip(lengths.iter::<f32>()).map(support).collect()
    }

    /// For each of some rows the sum over its tokens of `log Σ_v pi(v)`, `v` over the tokens that are possible there: the
    /// log-probability that every one of them is possible, given those before it.
    ///
    /// # Shapes
    /// `[rows]`
    pub fn log_mass(&self, rows: Range<usize>, supports: &[&TokenSupport]) -> Tensor<1> {
        let logits = self.logits_of(&rows);
        let [_, vocabulary] = logits.dims();
        let [_, length] = self.mask.dims();
        let bias = TokenSupport::bias(supports, length, vocabulary, &self.mask.device());
        let mass = log_sum_exp(logits.clone() + bias) - log_sum_exp(logits);
        mass.reshape([rows.len(), length]).sum_dim(1).squeeze_dim(1)
    }

    fn logits_of(&self, rows: &Range<usize>) -> Tensor<2> {
        let [_, length] = self.mask.dims();
        let (first, count) = (rows.start * length, rows.len() * length);
        self.logits.clone().narrow(0, first, count)
    }
}

/// Natural log-probabilities of a batch's completion tokens under the model: softmax of the raw logits, temperature 1.
#[derive(Debug, Clone)]
pub struct CompletionLogProbs {
    /// `[rows, completion_length]`, 0 where padded.
    pub token_log_probs: Tensor<2>,
    /// `[rows, completion_length]`: 1 at completion tokens, 0 where padded.
    pub mask: Tensor<2>,
}

impl CompletionLogProbs {
    /// Log-probability of each whole completion, end token included.
    ///
    /// # Shapes
    /// `[rows]`
    pub fn sums(&self) -> Tensor<1> {
        self.token_log_probs.clone().sum_dim(1).squeeze_dim(1)
    }

    /// The same of some rows with each token's log-probability times its weight, `[rows, completion_length]`.
    ///
    /// # Shapes
    /// `[rows]`
    pub fn weighed_sums(&self, rows: Range<usize>, weights: Tensor<2>) -> Tensor<1> {
        let log_probs = self.token_log_probs.clone().narrow(0, rows.start, rows.len());
        (log_probs * weights).sum_dim(1).squeeze_dim(1)
    }

    /// Of some rows every token's log-probability, on the host.
    pub fn tokens_of(&self, rows: Range<usize>) -> Vec<Vec<f64>> {
        let [_, length] = self.mask.dims();
        let host = |table: &Tensor<2>| table.clone().narrow(0, rows.start, rows.len()).into_data();
        let (log_probs, mask) = (host(&self.token_log_probs), host(&self.mask));
        let cells: Vec<_> = log_probs.iter::<f64>().zip(mask.iter::<f64>()).collect();
        let of_row = |row: &[(f64, f64)]| {
            let tokens = row.iter().filter(|(_, mask)| *mask > 0.0);
            tokens.map(|(log_prob, _)| *log_prob).collect()
        };
        cells.chunks(length).map(of_row).collect()
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

    /// Two rows of up to two tokens over a vocabulary of four; the second row has one token and padding.
    fn two_rows(logits: Tensor<2>) -> CompletionLogits {
        let device = Device::flex();
        CompletionLogits {
            logits,
            targets: Tensor::from_data([0, 3, 1, 0], &device),
            mask: Tensor::from_data([[1.0, 1.0], [1.0, 0.0]], &device),
        }
    }

    /// Logits whose softmax is these probabilities.
    fn logits(probabilities: [[f32; 4]; 4]) -> Tensor<2> {
        Tensor::<2>::from_data(probabilities, &Device::flex()).log() + 3.0
    }

    const REFERENCE: [[f32; 4]; 4] = [
        [0.5, 0.3, 0.15, 0.05],
        [0.01, 0.97, 0.01, 0.01],
        [0.25, 0.24, 0.26, 0.25],
        [0.1, 0.2, 0.3, 0.4],
    ];

    #[test]
    fn the_mass_on_possible_tokens_and_its_gradient_are_the_closed_form() {
        let reference = two_rows(logits(REFERENCE));
        let supports = reference.supports(0..2, 0.1);
        let possible = [vec![0, 1, 2], vec![1], vec![0, 1, 2, 3]];
        let kept = |row: usize| TokenSupport::of_tokens(&possible[[0..2, 2..3][row].clone()]);
        assert_eq!(supports, [kept(0), kept(1)]);
        // Nothing reaches the threshold: the likeliest is possible all the same.
        assert_eq!(
            reference.supports(1..2, 0.5),
            [TokenSupport::of_tokens(&[vec![2]])]
        );

        let policy = [
            [0.1, 0.2, 0.3, 0.4],
            [0.3, 0.2, 0.4, 0.1],
            [0.7, 0.1, 0.1, 0.1],
            [0.4, 0.3, 0.2, 0.1],
        ];
        let leaf = logits(policy).autodiff().require_grad();
        let scored = two_rows(leaf.clone());
        let mass = scored.log_mass(0..2, &[&supports[0], &supports[1]]);
        let expected = [0.6f32.ln() + 0.2f32.ln(), 0.0];
        let tolerance = Tolerance::absolute(1e-5);
        mass.clone()
            .into_data()
            .assert_approx_eq::<f32>(&expected.into(), tolerance);
        // Of `log Σ_S p`: p within the support, less p.
        let gradient = leaf.grad(&mass.sum().backward()).unwrap();
        let expected = [
            [0.1 / 0.6 - 0.1, 0.2 / 0.6 - 0.2, 0.3 / 0.6 - 0.3, -0.4],
            [-0.3, 1.0 - 0.2, -0.4, -0.1],
            [0.0; 4],
            [0.0; 4],
        ];
        gradient
            .into_data()
            .assert_approx_eq::<f32>(&expected.into(), tolerance);
        // The second row alone, in a rectangle that is longer than its own support.
        let alone = scored.log_mass(1..2, &[&TokenSupport::of_tokens(&[vec![1, 3]])]);
        assert!((alone.into_scalar::<f32>() - 0.2f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn tokens_count_by_their_weights_and_padding_not_at_all() {
        let completions = two_rows(logits(REFERENCE)).log_probs();
        let weights = Tensor::from_data([[0.5, 0.0], [2.0, 7.0]], &Device::flex());
        let expected = [0.5 * 0.5f32.ln(), 2.0 * 0.24f32.ln()];
        let tolerance = Tolerance::absolute(1e-5);
        let found = completions.weighed_sums(0..2, weights.clone());
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected.into(), tolerance);
        let second = completions.weighed_sums(1..2, weights.narrow(0, 1, 1));
        second
            .into_data()
            .assert_approx_eq::<f32>(&expected[1..].into(), tolerance);
        let tokens = completions.tokens_of(0..2);
        assert_eq!(tokens.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert!((tokens[1][0] - 0.24f64.ln()).abs() < 1e-5, "{tokens:?}");
        assert_eq!(completions.tokens_of(1..2), tokens[1..]);
    }

    #[test]
    fn a_policy_far_outside_the_support_loses_finitely_much_and_is_drawn_back() {
        let leaf: Tensor<2> = Tensor::from_data([[-200.0, 0.0]], &Device::flex());
        let leaf = leaf.autodiff().require_grad();
        let scored = CompletionLogits {
            logits: leaf.clone(),
            targets: Tensor::from_data([1], &Device::flex()),
            mask: Tensor::from_data([[1.0]], &Device::flex()),
        };
        let mass = scored.log_mass(0..1, &[&TokenSupport::of_tokens(&[vec![0]])]);
        assert_eq!(mass.clone().into_scalar::<f32>(), -200.0);
        let gradient = leaf.grad(&mass.backward()).unwrap();
        gradient
            .into_data()
            .assert_eq(&TensorData::from([[1.0f32, -1.0]]), true);
    }

    #[test]
    fn huge_logits_give_finite_numbers() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_data([[3.0e4, 0.0]], &device);
        let value = gather_log_probs(logits, Tensor::from_data([0], &device)).into_scalar::<f32>();
        assert_eq!(value, 0.0);
    }
}

//! The loss of a set of preference pairs: the preference term plus the weighted product-centric term.
//!
//! Pure functions of log-probabilities. What the negative is (`negatives.rs`) and how log-probabilities come about
//! (`log_probs.rs`) is not known here.

pub(crate) mod dpo;
pub(crate) mod pcpo;

use crate::config::LossConfig;
use burn::tensor::{Tensor, activation};

/// Log-probabilities of whole completions, end token included, one number a pair.
#[derive(Debug, Clone)]
pub(crate) struct PairLogProbs {
    /// Of the chosen completion, `[pairs]`.
    pub(crate) chosen: Tensor<1>,
    /// Of the rejected completion, `[pairs]`.
    pub(crate) rejected: Tensor<1>,
    /// Of the product-centric negative, `[pairs]`; `None` without that term.
    pub(crate) negative: Option<Tensor<1>>,
}

/// `-log sigma(beta m_dpo) + w · -log sigma(beta_p m_pc)` of each pair (CAIG `pcpo/llava_pcpo_trainer.py`). No anchor, no
/// label smoothing, no length normalisation.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn pcpo_loss(policy: &PairLogProbs, reference: &PairLogProbs, config: &LossConfig) -> Tensor<1> {
    let preference = negative_log_sigmoid(dpo::margin(policy, reference), config.beta);
    match pcpo::margin(policy, reference) {
        None => preference,
        Some(margin) => {
            preference + negative_log_sigmoid(margin, config.pcpo_beta).mul_scalar(config.pcpo_weight)
        }
    }
}

/// `-log sigma(beta m)`, stable at both ends.
fn negative_log_sigmoid(margin: Tensor<1>, beta: f64) -> Tensor<1> {
    activation::log_sigmoid(margin.mul_scalar(beta)).neg()
}

#[cfg(test)]
mod tests;

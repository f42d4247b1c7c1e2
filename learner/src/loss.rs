//! The loss of a set of preference pairs: the preference term, the weighted product-centric term and what holds each of
//! them, the anchor and the support.
//!
//! Pure functions of log-probabilities. What the negative is (`negatives.rs`) and how log-probabilities come about
//! (`log_probs.rs`) is not known here.

pub(crate) mod dpo;
pub(crate) mod evidence;
pub(crate) mod importance;
pub(crate) mod nll;
pub(crate) mod pcpo;
pub(crate) mod support;

use crate::config::LossConfig;
use burn::tensor::{Tensor, activation};

/// Log-probabilities of whole completions, end token included, one number a pair.
#[derive(Debug, Clone)]
pub(crate) struct PairLogProbs {
    /// Of the chosen completion, `[pairs]`.
    pub(crate) chosen: Tensor<1>,
    /// Of the rejected completion, `[pairs]`.
    pub(crate) rejected: Tensor<1>,
    /// What the product-centric term compares; `None` without that term.
    pub(crate) contrast: Option<Contrast<Tensor<1>>>,
    /// That every token along the negative is one that the reference holds possible, given those before it, `[pairs]`; of
    /// the policy only, and `None` without that term.
    pub(crate) support: Option<Tensor<1>>,
    /// Tokens of the chosen completion, `[pairs]`.
    pub(crate) chosen_tokens: Tensor<1>,
}

/// The two sides of the product-centric term, in nats: the chosen completion under its own product, and the negative. With evidence each token
/// counts by it, on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Contrast<T> {
    pub(crate) own: T,
    pub(crate) negative: T,
}

/// `-log sigma(beta m_dpo) + w · -log sigma(beta_p m_pc) + w_nll · -log pi(y+) / |y+| + w_s · -log pi(S | y~)` of each pair;
/// CAIG has the first two (`pcpo/llava_pcpo_trainer.py`). No label smoothing; the margins are of sums, not of means.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn pcpo_loss(policy: &PairLogProbs, reference: &PairLogProbs, config: &LossConfig) -> Tensor<1> {
    let mut loss = negative_log_sigmoid(dpo::margin(policy, reference), config.beta);
    if let Some(margin) = pcpo::margin(policy, reference) {
        loss = loss + negative_log_sigmoid(margin, config.pcpo_beta).mul_scalar(config.pcpo_weight);
    }
    if config.nll_weight > 0.0 {
        loss = loss + nll::per_token(policy).mul_scalar(config.nll_weight);
    }
    if let Some(lost) = support::lost(policy) {
        loss = loss + lost.mul_scalar(config.support_weight);
    }
    loss
}

/// `-log sigma(beta m)`, stable at both ends.
fn negative_log_sigmoid(margin: Tensor<1>, beta: f64) -> Tensor<1> {
    activation::log_sigmoid(margin.mul_scalar(beta)).neg()
}

#[cfg(test)]
mod tests;

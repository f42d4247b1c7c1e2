//! The anchor: supervised fine-tuning on the chosen completion beside the preference ("Iterative Reasoning Preference
//! Optimization", [arXiv 2404.19733](https://arxiv.org/abs/2404.19733), eq. 1).
//!
//! DPO and the product-centric term only see differences of log-probabilities: both can fall while their difference grows,
//! and what they lose goes to completions that nobody sampled, broken ones first.

use super::PairLogProbs;
use burn::tensor::Tensor;

/// `-log pi(y+ | I, C) / |y+|`, nats a token.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn per_token(policy: &PairLogProbs) -> Tensor<1> {
    (policy.chosen.clone() / policy.chosen_tokens.clone()).neg()
}

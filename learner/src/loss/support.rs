//! The support: under the negative's product the policy may move probability among the tokens that the reference holds
//! possible, not to others.
//!
//! The product-centric term pushes the chosen completion down under another product and does not say what is to go up
//! there instead. What goes up is what the network finds easiest, and much of that is no description at all. The set of
//! possible tokens is the reference's own, read at every position of the negative; which of them gets the probability is
//! left to the other terms.

use super::PairLogProbs;
use burn::tensor::Tensor;

/// `-log pi(S | y~) = - sum_t log sum_{v in S_t} pi(v | I~, C~, y~_<t)`, where `S_t` are the tokens of at least
/// `support_threshold` in probability under the reference. At least 0; `None` without a negative.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn lost(policy: &PairLogProbs) -> Option<Tensor<1>> {
    Some(policy.support.clone()?.neg())
}

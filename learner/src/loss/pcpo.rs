//! The product-centric term of CAIG ([arXiv 2502.06823](https://arxiv.org/abs/2502.06823)): the chosen completion should be
//! likelier under its own product than the negative is.

use super::PairLogProbs;
use burn::tensor::Tensor;

/// `m_pc = [log pi(y+ | I, C) - log pi(y~ | I~, C~)] - [log ref(y+ | I, C) - log ref(y~ | I~, C~)]`; `None` without a
/// negative.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn margin(policy: &PairLogProbs, reference: &PairLogProbs) -> Option<Tensor<1>> {
    let (under_policy, under_reference) = (policy.negative.clone()?, reference.negative.clone()?);
    let chosen = policy.chosen.clone() - reference.chosen.clone();
    Some(chosen - (under_policy - under_reference))
}

//! The product-centric term of CAIG ([arXiv 2502.06823](https://arxiv.org/abs/2502.06823)): the chosen completion should be
//! likelier under its own product than the negative is.

use super::{Contrast, PairLogProbs};
use burn::tensor::Tensor;

/// `m_pc = [log pi(y+ | I, C) - log pi(y~ | I~, C~)] - [log ref(y+ | I, C) - log ref(y~ | I~, C~)]`; with evidence `e_t`
/// (`loss/evidence.rs`) each is `sum_t e_t log pi(y+_t | ..., y+_<t)` instead of the sum of all tokens alike. `None` without a negative.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn margin(policy: &PairLogProbs, reference: &PairLogProbs) -> Option<Tensor<1>> {
    let under_policy = policy.contrast.clone()?.difference();
    Some(under_policy - reference.contrast.clone()?.difference())
}

impl Contrast<Tensor<1>> {
    fn difference(self) -> Tensor<1> {
        self.own - self.negative
    }
}

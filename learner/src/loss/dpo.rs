//! The preference term: DPO ([arXiv 2305.18290](https://arxiv.org/abs/2305.18290), eq. 7).

use super::PairLogProbs;
use burn::tensor::Tensor;

/// `m_dpo = [log pi(y+) - log pi(y-)] - [log ref(y+) - log ref(y-)]`, all under the pair's own product.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn margin(policy: &PairLogProbs, reference: &PairLogProbs) -> Tensor<1> {
    let chosen = policy.chosen.clone() - reference.chosen.clone();
    let rejected = policy.rejected.clone() - reference.rejected.clone();
    chosen - rejected
}

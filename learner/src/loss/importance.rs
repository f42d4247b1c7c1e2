//! The weight of a pair that another policy sampled: `exp(clip(log pi(y) - log mu(y)))` of each completion, `mu` the policy that
//! sampled it, multiplied over the two. A constant: no gradient goes through it.
//!
//! Without the clip the expectation over `mu`'s pairs is that over the training policy's own; with it, no single pair weighs more
//! than `exp(2 clip)`. A completion whose behaviour policy is not known, as in a file, weighs 1.

use crate::log_probs::PairNats;
use crate::training_pair::{Completion, TrainingPair};
use burn::tensor::Tensor;

/// Each pair's loss times its [`weight`], where pairs are weighed: `clip` is not 0.
///
/// # Shapes
/// `[pairs]`
pub(crate) fn weighed(
    losses: Tensor<1>,
    pairs: &[&TrainingPair],
    policy: &[PairNats],
    clip: f64,
) -> Tensor<1> {
    if clip == 0.0 {
        return losses;
    }
    let pairs = pairs.iter().zip(policy);
    let weights: Vec<f32> = pairs
        .map(|(pair, nats)| weight(pair, nats, clip) as f32)
        .collect();
    let weights = Tensor::from_floats(&weights[..], &losses.device());
    losses * weights
}

/// The weight of `pair`, of whose completions the policy says `policy`, with each log-ratio held within `clip` nats; 1 when
/// `clip` is 0.
pub(crate) fn weight(pair: &TrainingPair, policy: &PairNats, clip: f64) -> f64 {
    let ratio = |completion: &Completion, policy: f64| {
        let ratio = completion.behaviour.map_or(0.0, |behaviour| policy - behaviour);
        ratio.clamp(-clip, clip)
    };
    (ratio(&pair.chosen, policy.chosen) + ratio(&pair.rejected, policy.rejected)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::TaskId;

    fn pair(chosen: Option<f64>, rejected: Option<f64>) -> TrainingPair {
        let completion = |behaviour| Completion {
            token_ids: vec![1],
            behaviour,
        };
        TrainingPair {
            task: TaskId(0),
            chosen: completion(chosen),
            rejected: completion(rejected),
        }
    }

    const POLICY: PairNats = PairNats {
        chosen: -10.0,
        rejected: -12.0,
        contrast: None,
        support: None,
        chosen_tokens: 3.0,
    };

    #[test]
    fn each_completion_counts_by_how_much_likelier_it_has_become_within_the_clip() {
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        close(
            weight(&pair(Some(-10.5), Some(-12.2)), &POLICY, 1.0),
            0.7f64.exp(),
        );
        close(
            weight(&pair(Some(-15.0), Some(-11.5)), &POLICY, 1.0),
            0.5f64.exp(),
        );
        close(weight(&pair(Some(-15.0), Some(-11.5)), &POLICY, 0.0), 1.0);
        close(weight(&pair(None, None), &POLICY, 1.0), 1.0);
    }
}

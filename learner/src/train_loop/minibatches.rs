//! The order in which the pairs of a batch are trained on: several passes, each shuffled on its own.

use crate::config::LearnerConfig;
use common::{PolicyVersion, Purpose, TaskId, derive_seed};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The minibatches of a version as positions in its batch of `pairs` pairs, pass after pass. The last minibatch of a pass
/// may be smaller.
pub(super) fn minibatches(
    pairs: usize,
    config: &LearnerConfig,
    run_seed: u64,
    version: PolicyVersion,
) -> Vec<Vec<usize>> {
    let pass = |number: usize| {
        let mut order: Vec<usize> = (0..pairs).collect();
        let seed = derive_seed(run_seed, TaskId(number as u64), version, Purpose::BatchOrder);
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order
            .chunks(config.minibatch_pairs)
            .map(<[usize]>::to_vec)
            .collect::<Vec<_>>()
    };
    (0..config.passes).flat_map(pass).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::version;

    #[test]
    fn every_pass_trains_each_pair_once_in_an_order_of_its_own() {
        let config = LearnerConfig {
            passes: 2,
            minibatch_pairs: 4,
            ..LearnerConfig::default()
        };
        let all = minibatches(10, &config, 1, version(3));
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2, 4, 4, 2]);
        let (first, second) = (all[..3].concat(), all[3..].concat());
        assert_ne!(first, second);
        for mut pass in [first, second] {
            pass.sort_unstable();
            assert_eq!(pass, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(all, minibatches(10, &config, 1, version(3)));
        assert_ne!(all, minibatches(10, &config, 1, version(4)));
    }
}

//! Where every random draw of a run comes from.

use crate::{PolicyVersion, TaskId};

/// What a random draw is for. Two purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// The order of the catalogue's products within one pass.
    TaskOrder = 1,
    /// Which instruction a task is asked with.
    Instruction = 2,
    /// Sampling completions.
    Sampling = 3,
    /// The noise of rendered images; one per group, so that candidates differ by description only.
    RenderNoise = 4,
    /// Random preference labels of the control run.
    ControlLabel = 5,
    /// The partner product of the product-centric negative.
    Partner = 6,
    /// Which patches of the product image are masked.
    Mask = 7,
    /// CAIG's coin between the masked image and the other conversation.
    Branch = 8,
    /// The order of pairs within one pass over a batch.
    BatchOrder = 9,
    /// Initial weights.
    Initialisation = 10,
    /// Draws of pre-training samples.
    Pretraining = 11,
    /// Draws of reward-model training.
    RewardTraining = 12,
    /// The simulated world.
    World = 13,
    /// Sampling for evaluation; the same before and after training.
    Evaluation = 14,
    /// Bootstrap intervals.
    Bootstrap = 15,
    /// Dropout of the adapter's inputs.
    AdapterDropout = 16,
    /// The completions by which actors prove that a version takes effect.
    Canary = 17,
}

/// Derives the seed of one draw from the run's seed, the task, the policy version and the purpose: never from an actor,
/// a clock or an attempt, so that whoever repeats the work repeats the result.
///
/// Each part is mixed in by SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
/// generators"). A version enters with its number only: a restarted learner continues the same stream.
pub fn derive_seed(run_seed: u64, task: TaskId, version: PolicyVersion, purpose: Purpose) -> u64 {
    [task.0, version.number, purpose as u64]
        .into_iter()
        .fold(mix(run_seed), |state, part| mix(state ^ part))
}

fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LearnerEpoch;
    use std::collections::BTreeSet;

    fn version(number: u64) -> PolicyVersion {
        PolicyVersion {
            epoch: LearnerEpoch(1),
            number,
        }
    }

    #[test]
    fn neighbouring_tasks_versions_purposes_and_runs_get_different_seeds() {
        let mut seen = BTreeSet::new();
        for run in 0..4 {
            for task in 0..16 {
                for number in 0..8 {
                    for purpose in [Purpose::Sampling, Purpose::RenderNoise, Purpose::Partner] {
                        seen.insert(derive_seed(run, TaskId(task), version(number), purpose));
                    }
                }
            }
        }
        assert_eq!(seen.len(), 4 * 16 * 8 * 3);
    }

    #[test]
    fn seeds_are_pinned_so_that_old_runs_can_be_replayed() {
        assert_eq!(derive_seed(7, TaskId(3), version(2), Purpose::Sampling), PINNED);
    }

    const PINNED: u64 = 2_254_340_521_635_106_459;
}

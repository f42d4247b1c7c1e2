//! Which product and which instruction a task is about: a pure function of the run's seed and the task's number.
//!
//! Every pass over the catalogue's training products is a fresh seeded permutation, so each product comes up once per
//! pass. Nothing is stored: position t of the order is computed from t alone, whatever was asked before.

use common::{LearnerEpoch, PolicyVersion, Purpose, TaskId, derive_seed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// The seeded order of a run's tasks.
#[derive(Debug, Clone)]
pub(crate) struct TaskOrder {
    run_seed: u64,
    products: Range<usize>,
    instructions: usize,
}

/// What a task is about, as indices into the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskSubject {
    /// The product.
    pub(crate) product: usize,
    /// The instruction it is asked with.
    pub(crate) instruction: usize,
}

impl TaskOrder {
    /// The order over the training products `products` (not empty) and `instructions` (at least one) instructions.
    pub(crate) fn new(run_seed: u64, products: Range<usize>, instructions: usize) -> Self {
        Self {
            run_seed,
            products,
            instructions,
        }
    }

    /// What task `task` is about.
    pub(crate) fn subject(&self, task: TaskId) -> TaskSubject {
        let count = self.products.len() as u64;
        let pass_seed = self.seed(TaskId(task.0 / count), Purpose::TaskOrder);
        let place = permuted(task.0 % count, count, pass_seed);
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed(task, Purpose::Instruction));
        TaskSubject {
            product: self.products.start + place as usize,
            instruction: stream.random_range(0..self.instructions),
        }
    }

    /// Tasks do not depend on the policy, so every seed here is that of version 0.
    fn seed(&self, task: TaskId, purpose: Purpose) -> u64 {
        derive_seed(
            self.run_seed,
            task,
            PolicyVersion::initial(LearnerEpoch(1)),
            purpose,
        )
    }
}

/// Position `index` of a seeded permutation of `0..count`: a Feistel network (Luby and Rackoff 1988) over the next even
/// power of two, walked until it lands inside (Black and Rogaway 2002, "cycle walking"). Fewer than four steps on average.
fn permuted(index: u64, count: u64, seed: u64) -> u64 {
    const ROUNDS: u64 = 6;
    let half_bits = (64 - (count - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half_bits) - 1;
    let mut place = index;
    loop {
        let (mut left, mut right) = (place >> half_bits, place & mask);
        for round in 0..ROUNDS {
            let version = PolicyVersion {
                epoch: LearnerEpoch(1),
                number: round,
            };
            let mixed = derive_seed(seed, TaskId(right), version, Purpose::TaskOrder);
            (left, right) = (right, left ^ (mixed & mask));
        }
        place = (left << half_bits) | right;
        if place < count {
            return place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn every_pass_visits_every_training_product_once(
            start in 0usize..20, count in 1usize..200, seed in any::<u64>(), pass in 0u64..5
        ) {
            let order = TaskOrder::new(seed, start..start + count, 3);
            let tasks = (0..count as u64).map(|i| TaskId(pass * count as u64 + i));
            let visited: BTreeSet<_> = tasks.map(|task| order.subject(task).product).collect();
            prop_assert_eq!(visited, (start..start + count).collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn passes_and_seeds_differ_and_repeats_agree() {
        let products = |seed, tasks: std::ops::Range<u64>| -> Vec<usize> {
            let order = TaskOrder::new(seed, 0..64, 1);
            tasks.map(|task| order.subject(TaskId(task)).product).collect()
        };
        assert_eq!(products(1, 0..64), products(1, 0..64));
        assert_ne!(products(1, 0..64), products(1, 64..128));
        assert_ne!(products(1, 0..64), products(2, 0..64));
        assert_ne!(products(1, 0..64), (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn every_instruction_is_asked() {
        let order = TaskOrder::new(3, 0..4, 5);
        let asked: BTreeSet<_> = (0..200)
            .map(|task| order.subject(TaskId(task)).instruction)
            .collect();
        assert_eq!(asked.len(), 5);
    }
}

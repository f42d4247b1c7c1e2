//! What stands for the product-centric negative of a pair: which completion under which image and which words. Pure and
//! seeded; nothing is tokenised or rendered.

use crate::config::LossMode;
use crate::partners::Partners;
use crate::task_order::TaskSubject;
use common::{PolicyVersion, Purpose, TaskId, derive_seed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A negative of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Negative {
    /// The pair of the batch whose chosen completion is scored.
    pub(crate) completion_of: usize,
    /// The image it is scored under.
    pub(crate) image: ProductImage,
    /// The words it is scored under: an instruction with a product's caption.
    pub(crate) words: TaskSubject,
}

/// An image of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProductImage {
    /// The cut-out of a product, by index.
    Whole(usize),
    /// The cut-out with patches masked.
    Masked {
        /// The product's index.
        product: usize,
        /// Which patches.
        seed: u64,
    },
}

/// The seeds of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeds {
    /// The run's seed.
    pub(crate) run: u64,
    /// The version the batch is trained at.
    pub(crate) version: PolicyVersion,
}

impl Seeds {
    fn of(&self, task: TaskId, purpose: Purpose) -> u64 {
        derive_seed(self.run, task, self.version, purpose)
    }
}

/// The negative of pair `pair` of a batch, given the task and the subject of each pair; `None` in mode `dpo`.
pub(crate) fn negative(
    mode: LossMode,
    pair: usize,
    batch: &[(TaskId, TaskSubject)],
    partners: &Partners,
    seeds: &Seeds,
) -> Option<Negative> {
    let (task, own) = batch[pair];
    let partner = || partners.draw(own.product, seeds.of(task, Purpose::Partner));
    let masked = || ProductImage::Masked {
        product: own.product,
        seed: seeds.of(task, Purpose::Mask),
    };
    let whole = ProductImage::Whole;
    let (image, words) = match mode {
        LossMode::Dpo => return None,
        LossMode::JointSwap => {
            let partner = partner();
            (
                whole(partner),
                TaskSubject {
                    product: partner,
                    ..own
                },
            )
        }
        LossMode::Paper => (
            masked(),
            TaskSubject {
                product: partner(),
                ..own
            },
        ),
        LossMode::MaskOnly => (masked(), own),
        LossMode::CaptionOnly => (
            whole(own.product),
            TaskSubject {
                product: partner(),
                ..own
            },
        ),
        LossMode::Compat => return Some(compat(pair, batch, masked(), seeds)),
    };
    Some(Negative {
        completion_of: pair,
        image,
        words,
    })
}

/// CAIG's code (`train_pcpo.py`, `__getitem__`), quirks kept: a fair coin; heads, `y+` under the masked image and its own
/// words; tails, the whole chosen conversation of another pair, completion included, under the own image. The other pair is
/// uniform over the batch and may be the pair itself. What differs is listed at [`LossMode::Compat`].
fn compat(pair: usize, batch: &[(TaskId, TaskSubject)], masked: ProductImage, seeds: &Seeds) -> Negative {
    let (task, own) = batch[pair];
    let mut stream = ChaCha8Rng::seed_from_u64(seeds.of(task, Purpose::Branch));
    if stream.random::<bool>() {
        return Negative {
            completion_of: pair,
            image: masked,
            words: own,
        };
    }
    let other = stream.random_range(0..batch.len());
    Negative {
        completion_of: other,
        image: ProductImage::Whole(own.product),
        words: batch[other].1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::catalogue;
    use crate::config::Partner;
    use crate::test_outcomes::version;
    use std::collections::BTreeSet;

    fn batch(pairs: usize) -> Vec<(TaskId, TaskSubject)> {
        let subject = |i| TaskSubject {
            product: i % 4,
            instruction: i % 2,
        };
        (0..pairs).map(|i| (TaskId(i as u64), subject(i))).collect()
    }

    fn all(mode: LossMode, run: u64, pairs: usize) -> Vec<Negative> {
        let products = catalogue(&[Some("lamp"), Some("lamp"), Some("desk"), Some("vase")]);
        let partners = Partners::new(&products, Partner::Category);
        let (batch, seeds) = (
            batch(pairs),
            Seeds {
                run,
                version: version(2),
            },
        );
        (0..pairs)
            .filter_map(|pair| negative(mode, pair, &batch, &partners, &seeds))
            .collect()
    }

    #[test]
    fn each_mode_corrupts_exactly_what_it_says() {
        for (pair, (_, own)) in batch(40).into_iter().enumerate() {
            let of = |mode| all(mode, 7, 40)[pair];
            let swap = of(LossMode::JointSwap);
            assert_eq!(swap.image, ProductImage::Whole(swap.words.product));
            assert_ne!(swap.words.product, own.product);
            let paper = of(LossMode::Paper);
            assert!(matches!(paper.image, ProductImage::Masked { product, .. } if product == own.product));
            assert_eq!(paper.words.product, swap.words.product);
            let mask = of(LossMode::MaskOnly);
            assert_eq!((mask.image, mask.words), (paper.image, own));
            let caption = of(LossMode::CaptionOnly);
            assert_eq!(
                (caption.image, caption.words),
                (ProductImage::Whole(own.product), paper.words)
            );
            for mode in [swap, paper, mask, caption] {
                assert_eq!(
                    (mode.completion_of, mode.words.instruction),
                    (pair, own.instruction)
                );
            }
        }
        assert!(all(LossMode::Dpo, 7, 40).is_empty());
    }

    #[test]
    fn compat_tosses_a_fair_coin_and_may_draw_the_pair_itself() {
        let negatives: Vec<_> = (0..50).flat_map(|run| all(LossMode::Compat, run, 8)).collect();
        let masked = negatives
            .iter()
            .filter(|n| matches!(n.image, ProductImage::Masked { .. }))
            .count();
        assert!((150..250).contains(&masked), "{masked} of 400");
        let drawn: BTreeSet<_> = negatives.iter().map(|n| n.completion_of).collect();
        assert_eq!(drawn.len(), 8);
        let itself = |(i, n): &(usize, &Negative)| {
            n.completion_of == i % 8 && matches!(n.image, ProductImage::Whole(_))
        };
        let count = negatives.iter().enumerate().filter(itself).count();
        assert!((10..45).contains(&count), "{count}: about 200 / 8 expected");
        let batch = batch(8);
        for (i, negative) in negatives.iter().enumerate() {
            assert_eq!(negative.words, batch[negative.completion_of].1, "pair {}", i % 8);
        }
    }

    #[test]
    fn draws_repeat_by_seed_and_differ_between_runs() {
        for mode in [LossMode::JointSwap, LossMode::Paper, LossMode::Compat] {
            assert_eq!(all(mode, 1, 30), all(mode, 1, 30));
            assert_ne!(all(mode, 1, 30), all(mode, 2, 30));
        }
    }
}

//! Which products and creatives make up a step, drawn from an explicit seed, and how a step is split into micro-batches.
//!
//! Every product is seen once per epoch. Sums over a step are divided by totals of the whole step, so that the loss does
//! not depend on the split.

use super::TrainingProduct;
use crate::config::RewardConfig;
use crate::dataset::LabelledPair;
use data::ClickCounts;
use models::init::stream_seed;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Some products of one step.
#[derive(Debug, Clone)]
pub(super) struct MicroBatch<Creative = Vec<f32>> {
    pub(super) products: Vec<BatchProduct<Creative>>,
    /// Seed of its pixel noise and dropout.
    pub(super) seed: u64,
    pub(super) totals: Totals,
}

/// One product with the creatives drawn for this step.
#[derive(Debug, Clone)]
pub(super) struct BatchProduct<Creative = Vec<f32>> {
    pub(super) text: Vec<u32>,
    /// What the network reads of each creative.
    pub(super) creatives: Vec<Creative>,
    pub(super) counts: Vec<ClickCounts>,
    pub(super) pairs: Vec<LabelledPair>,
    /// For each pair whether its better creative is placed left; the siamese form has no sides.
    pub(super) higher_is_left: Vec<bool>,
}

/// Totals over all micro-batches of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Totals {
    /// Sum of the pairs' weights.
    pub(super) weight: f64,
    /// Number of pairs.
    pub(super) pairs: f64,
    /// Number of products.
    pub(super) products: f64,
}

/// The steps of one epoch: each a list of micro-batches.
pub(super) fn epoch_batches<'a, Creative: Clone>(
    products: &'a [TrainingProduct<Creative>],
    blank: &'a [u32],
    config: &'a RewardConfig,
    seed: u64,
) -> impl Iterator<Item = Vec<MicroBatch<Creative>>> + 'a {
    let mut order: Vec<usize> = (0..products.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(stream_seed(seed, "order")));
    let steps: Vec<Vec<usize>> = order
        .chunks(config.products_per_batch)
        .map(<[usize]>::to_vec)
        .collect();
    steps.into_iter().enumerate().map(move |(step, members)| {
        let seed = stream_seed(seed, &format!("step.{step}"));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let drawn: Vec<_> = members
            .iter()
            .map(|member| draw(&products[*member], blank, config, &mut rng))
            .collect();
        split(drawn, config.micro_batches, seed)
    })
}

fn draw<Creative: Clone>(
    product: &TrainingProduct<Creative>,
    blank: &[u32],
    config: &RewardConfig,
    rng: &mut ChaCha8Rng,
) -> BatchProduct<Creative> {
    let mut chosen: Vec<usize> = (0..product.counts.len()).collect();
    chosen.shuffle(rng);
    chosen.truncate(config.creatives_per_product);
    chosen.sort_unstable();
    let place = |creative: usize| chosen.binary_search(&creative).ok();
    let local = |pair: &LabelledPair| {
        Some(LabelledPair {
            higher: place(pair.higher)?,
            lower: place(pair.lower)?,
            weight: pair.weight,
        })
    };
    let mut pairs: Vec<_> = product.pairs.iter().filter_map(local).collect();
    if config.compares_pairs() {
        // Each pair costs a pass: as many as would show every creative once.
        pairs.shuffle(rng);
        pairs.truncate((chosen.len() / 2).max(1));
    }
    let withheld = rng.random_bool(config.caption_dropout);
    BatchProduct {
        text: if withheld {
            blank.to_vec()
        } else {
            product.input.text.clone()
        },
        creatives: chosen
            .iter()
            .map(|creative| product.input.creatives[*creative].clone())
            .collect(),
        counts: chosen.iter().map(|creative| product.counts[*creative]).collect(),
        higher_is_left: pairs.iter().map(|_| rng.random()).collect(),
        pairs,
    }
}

/// Deals whole products out to at most `parts` micro-batches.
fn split<Creative>(
    products: Vec<BatchProduct<Creative>>,
    parts: usize,
    seed: u64,
) -> Vec<MicroBatch<Creative>> {
    let pairs = || products.iter().flat_map(|product| &product.pairs);
    let totals = Totals {
        weight: pairs().map(|pair| pair.weight).sum(),
        pairs: pairs().count() as f64,
        products: products.len() as f64,
    };
    let size = products.len().div_ceil(parts);
    let mut rest = products.into_iter();
    let micro_batch = |index: usize| {
        let products: Vec<_> = rest.by_ref().take(size).collect();
        let seed = stream_seed(seed, &format!("part.{index}"));
        (!products.is_empty()).then_some(MicroBatch {
            products,
            seed,
            totals,
        })
    };
    (0..parts).map_while(micro_batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy_log::{config, products};
    use models::ctr::CtrForm;
    use std::collections::BTreeMap;

    fn epoch(products: &[TrainingProduct], config: &RewardConfig, seed: u64) -> Vec<Vec<MicroBatch>> {
        epoch_batches(products, &[], config, seed).collect()
    }

    #[test]
    fn an_epoch_shows_every_product_once_in_a_seeded_order() {
        let (products, config) = (products(CtrForm::Siamese, 10), config(CtrForm::Siamese));
        let shown = |seed| -> Vec<u64> {
            let batches = epoch(&products, &config, seed).into_iter().flatten();
            batches
                .flat_map(|batch| batch.products)
                .map(|product| product.counts[0].impressions)
                .collect()
        };
        let mut sorted = shown(1);
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            (0..10).map(|product| 5_000 + 100 * product).collect::<Vec<u64>>()
        );
        assert_eq!(shown(1), shown(1));
        assert_ne!(shown(1), shown(2));
    }

    #[test]
    fn a_step_is_split_into_whole_products_with_common_totals() {
        let (products, config) = (products(CtrForm::Siamese, 10), config(CtrForm::Siamese));
        let steps = epoch(&products, &config, 1);
        let sizes: Vec<Vec<usize>> = steps
            .iter()
            .map(|step| step.iter().map(|part| part.products.len()).collect())
            .collect();
        assert_eq!(sizes, [vec![2, 2], vec![2, 2], vec![1, 1]]);
        for step in &steps {
            assert!(step.iter().all(|part| part.totals == step[0].totals));
            let pairs: usize = step
                .iter()
                .flat_map(|part| &part.products)
                .map(|product| product.pairs.len())
                .sum();
            assert_eq!(step[0].totals.pairs, pairs as f64);
        }
    }

    #[test]
    fn creatives_left_out_take_their_pairs_with_them() {
        let products = products(CtrForm::Siamese, 6);
        let config = RewardConfig {
            creatives_per_product: 3,
            ..config(CtrForm::Siamese)
        };
        for product in epoch(&products, &config, 1)
            .into_iter()
            .flatten()
            .flat_map(|part| part.products)
        {
            assert_eq!(
                (product.creatives.len(), product.counts.len(), product.pairs.len()),
                (3, 3, 3)
            );
            for pair in &product.pairs {
                assert!(product.counts[pair.higher].rate() > product.counts[pair.lower].rate());
            }
        }
    }

    #[test]
    fn the_concat_form_gets_half_as_many_pairs_as_creatives_with_both_sides_in_use() {
        let products = products(CtrForm::Siamese, 40);
        let batches = epoch(&products, &config(CtrForm::Concat), 1)
            .into_iter()
            .flatten();
        let drawn: Vec<BatchProduct> = batches.flat_map(|part| part.products).collect();
        assert!(drawn.iter().all(|product| product.pairs.len() == 2));
        let mut sides = BTreeMap::new();
        drawn
            .iter()
            .flat_map(|product| &product.higher_is_left)
            .for_each(|side| *sides.entry(side).or_insert(0) += 1);
        assert!(sides.values().all(|count| *count > 20), "{sides:?}");
    }

    #[test]
    fn withheld_captions_are_replaced_by_the_blank_text() {
        let products = products(CtrForm::Siamese, 6);
        let config = RewardConfig {
            caption_dropout: 1.0,
            ..config(CtrForm::Siamese)
        };
        let mut batches = epoch_batches(&products, &[7], &config, 1).flatten();
        assert!(batches.all(|part| part.products.iter().all(|product| product.text == [7])));
    }
}

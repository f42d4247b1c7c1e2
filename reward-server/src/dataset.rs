//! A click log as the networks read it: pixels, token ids, counts and labelled pairs, product by product.
//!
//! Pictures are resized once, here. What is drawn from it per step is in [`crate::training`].

use crate::forward::NetworkInput;
use data::label_quality::creative_pairs;
use data::{ClickCounts, ClickLog};
use models::ModelError;
use models::ctr::RewardModel;
use std::ops::Range;

/// One product with its creatives.
#[derive(Debug, Clone)]
pub(crate) struct LoggedProduct {
    /// Pixels of every creative and the ids of the product's text.
    pub(crate) input: NetworkInput,
    /// Impressions and clicks of every creative.
    pub(crate) counts: Vec<ClickCounts>,
    /// Pairs that say something about the order of two creatives.
    pub(crate) pairs: Vec<LabelledPair>,
}

/// Two creatives of one product, by their place in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LabelledPair {
    /// The one with the higher observed click-through rate.
    pub(crate) higher: usize,
    /// The other.
    pub(crate) lower: usize,
    /// What the label is worth, 0 to 1.
    pub(crate) weight: f64,
}

impl LoggedProduct {
    /// The products of `range` with at least two creatives, in order.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a caption cannot be encoded.
    pub(crate) fn read(
        log: &dyn ClickLog,
        range: Range<usize>,
        min_impressions: u64,
        model: &RewardModel,
    ) -> Result<Vec<Self>, ModelError> {
        let mut members = vec![vec![]; log.products().len()];
        let mut place = vec![0; log.creatives().len()];
        for (index, creative) in log.creatives().iter().enumerate() {
            place[index] = members[creative.product].len();
            members[creative.product].push(index);
        }
        let mut pairs = vec![vec![]; log.products().len()];
        for pair in creative_pairs(log, range.clone(), min_impressions) {
            let (higher, lower) = (place[pair.higher], place[pair.lower]);
            let labelled = LabelledPair {
                higher,
                lower,
                weight: pair.weight,
            };
            pairs[log.creatives()[pair.higher].product].push(labelled);
        }
        let usable = range.filter(|product| members[*product].len() > 1);
        usable
            .map(|product| {
                let creatives = || members[product].iter().map(|index| &log.creatives()[*index]);
                Ok(Self {
                    input: NetworkInput {
                        text: model.text_ids(&log.products()[product].caption)?,
                        pixels: creatives()
                            .map(|creative| RewardModel::pixels(&model.processor, &creative.image))
                            .collect(),
                    },
                    counts: creatives().map(|creative| creative.counts()).collect(),
                    pairs: std::mem::take(&mut pairs[product]),
                })
            })
            .collect()
    }
}

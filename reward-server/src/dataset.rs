//! A click log product by product: which creatives there are, what happened to them, and which pairs of them are labelled.
//!
//! What a network reads of a creative is not here: see [`crate::training`] and [`crate::served`].

use data::label_quality::creative_pairs;
use data::{ClickCounts, ClickLog};
use std::ops::Range;

/// One product with its creatives.
#[derive(Debug, Clone)]
pub(crate) struct LoggedProduct {
    /// Its place in the log.
    pub(crate) product: usize,
    /// The places of its creatives in the log.
    pub(crate) creatives: Vec<usize>,
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
    pub(crate) fn read(log: &dyn ClickLog, range: Range<usize>, min_impressions: u64) -> Vec<Self> {
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
        let product = |product: usize| Self {
            product,
            counts: members[product]
                .iter()
                .map(|index| log.creatives()[*index].counts())
                .collect(),
            pairs: pairs[product].clone(),
            creatives: members[product].clone(),
        };
        usable.map(product).collect()
    }
}

//! One product and the division of products into those trained on and those held out.

use common::ProductId;
use image::RgbaImage;
use std::{collections::BTreeMap, ops::Range};

/// A product to advertise.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// How its owner names it.
    pub id: ProductId,
    /// The seller's caption.
    pub caption: String,
    /// Its category, where the catalogue has categories.
    pub category: Option<String>,
    /// Further attributes by name, such as `colour`.
    pub attributes: BTreeMap<String, String>,
    /// Its cut-out: the product opaque, everything else transparent, colours not premultiplied.
    pub image: RgbaImage,
}

/// What orders products where it must follow from their ids alone, and those that are held out stand last: the BLAKE3 digest of the id.
pub(crate) fn rank(id: &ProductId) -> [u8; 32] {
    blake3::hash(id.as_str().as_bytes()).into()
}

/// Which products are trained on and which are measured on, as ranges of indices into a list of products.
///
/// The unit is the product, never the creative: two creatives of one product on both sides would leak its base rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Products to train on.
    pub train: Range<usize>,
    /// Products to measure on.
    pub test: Range<usize>,
}

impl Split {
    /// Holds the last `test_share` of `products` out, rounded to whole products.
    pub fn held_out(products: usize, test_share: f64) -> Self {
        let test = ((products as f64 * test_share).round() as usize).min(products);
        Self::parted(products, test)
    }

    /// Holds the last `test` of `products` out; all products are on both sides where that is none.
    pub(crate) fn last(products: usize, test: usize) -> Self {
        match test {
            0 => Self::shared(products),
            test => Self::parted(products, test),
        }
    }

    fn parted(products: usize, test: usize) -> Self {
        Self {
            train: 0..products - test,
            test: products - test..products,
        }
    }

    /// No held-out part: all products are on both sides.
    pub fn shared(products: usize) -> Self {
        Self {
            train: 0..products,
            test: 0..products,
        }
    }

    /// Whether some products are kept out of training.
    pub fn has_held_out(&self) -> bool {
        self.train.end <= self.test.start && !self.test.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn held_out_parts_cover_all_products_once(products in 0usize..500, share in 0.0f64..=1.0) {
            let split = Split::held_out(products, share);
            prop_assert_eq!(split.train.start, 0);
            prop_assert_eq!(split.train.end, split.test.start);
            prop_assert_eq!(split.test.end, products);
        }
    }

    #[test]
    fn a_shared_split_says_that_nothing_is_held_out() {
        assert!(!Split::shared(8).has_held_out());
        assert!(Split::held_out(8, 0.25).has_held_out());
        assert!(!Split::held_out(8, 0.0).has_held_out());
    }
}

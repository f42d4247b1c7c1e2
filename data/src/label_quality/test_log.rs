//! A click log of given counts, for the tests of this module.

use crate::{ClickLog, Creative, Product, Split};
use common::ProductId;
use image::{RgbImage, RgbaImage};
use std::collections::BTreeMap;

/// A log whose pictures are single pixels.
pub(super) struct TestLog {
    products: Vec<Product>,
    creatives: Vec<Creative>,
    truth: Vec<f64>,
}

impl TestLog {
    /// One product for each list of (impressions, clicks).
    pub(super) fn new(counts: &[&[(u64, u64)]]) -> Self {
        let product = |index: usize| Product {
            id: ProductId::new(format!("p{index}")).unwrap(),
            caption: "a thing".into(),
            category: None,
            attributes: BTreeMap::new(),
            image: RgbaImage::new(1, 1),
        };
        let creatives = counts.iter().enumerate().flat_map(|(product, counts)| {
            counts.iter().map(move |&(impressions, clicks)| Creative {
                product,
                image: RgbImage::new(1, 1),
                description: None,
                impressions,
                clicks,
            })
        });
        Self {
            products: (0..counts.len()).map(product).collect(),
            creatives: creatives.collect(),
            truth: Vec::new(),
        }
    }

    /// Tells the true rates of all creatives.
    pub(super) fn with_truth(mut self, truth: &[f64]) -> Self {
        self.truth = truth.to_vec();
        self
    }
}

impl ClickLog for TestLog {
    fn products(&self) -> &[Product] {
        &self.products
    }

    fn creatives(&self) -> &[Creative] {
        &self.creatives
    }

    fn split(&self) -> Split {
        Split::shared(self.products.len())
    }

    fn true_ctr(&self, creative: usize) -> Option<f64> {
        self.truth.get(creative).copied()
    }
}

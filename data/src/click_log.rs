//! Click logs: which creatives were shown how often, and how often they were clicked.

mod jsonl;

pub use jsonl::FileClickLog;

use crate::{FilePlaces, Product, Split};
use image::RgbImage;

/// How often a creative was shown and clicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickCounts {
    /// Times shown.
    pub impressions: u64,
    /// Times clicked; at most `impressions`.
    pub clicks: u64,
}

impl ClickCounts {
    /// Clicks per impression; 0 without impressions.
    pub fn rate(&self) -> f64 {
        if self.impressions == 0 {
            0.0
        } else {
            self.clicks as f64 / self.impressions as f64
        }
    }
}

/// One advertisement of a product and what its viewers did.
#[derive(Debug, Clone, PartialEq)]
pub struct Creative {
    /// The product, as an index into [`ClickLog::products`].
    pub product: usize,
    /// The picture shown.
    pub image: RgbImage,
    /// The description it was rendered from, where known.
    pub description: Option<String>,
    /// Times shown.
    pub impressions: u64,
    /// Times clicked; at most `impressions`.
    pub clicks: u64,
}

impl Creative {
    /// Its impressions and clicks.
    pub fn counts(&self) -> ClickCounts {
        ClickCounts {
            impressions: self.impressions,
            clicks: self.clicks,
        }
    }
}

/// A log of creatives with impressions and clicks, several creatives per product.
pub trait ClickLog: Send + Sync {
    /// The products advertised.
    fn products(&self) -> &[Product];

    /// The creatives, those of one product next to each other, products in order.
    fn creatives(&self) -> &[Creative];

    /// Which products a reward model is trained on and which it is measured on.
    fn split(&self) -> Split;

    /// Where products first come up in the log's file, by their index; none where it is made.
    fn places(&self) -> Option<&FilePlaces> {
        None
    }

    /// The true click-through rate of the creative with this index, without position effects; only a simulator knows.
    fn true_ctr(&self, creative: usize) -> Option<f64>;
}

//! The products that a reward model is trained on. The log's training products are divided once more: most train the
//! network, a few calibrate it. Test products are never looked at.

use crate::config::RewardConfig;
use crate::dataset::{LabelledPair, LoggedProduct};
use crate::error::RewardError;
use crate::forward::NetworkInput;
use data::{ClickCounts, ClickLog};
use models::ModelError;
use models::init::stream_seed;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// One product as a network reads it; a creative is its pixels unless the network wants something else.
#[derive(Debug, Clone)]
pub(crate) struct TrainingProduct<Creative = Vec<f32>> {
    /// Its creatives and the ids of its text.
    pub(crate) input: NetworkInput<Creative>,
    /// Impressions and clicks of every creative.
    pub(crate) counts: Vec<ClickCounts>,
    /// Pairs that say something about the order of two creatives.
    pub(crate) pairs: Vec<LabelledPair>,
}

/// Reads products: `text` their captions, `creative` what lies at a place of the log.
pub(crate) fn read<Creative>(
    log: &dyn ClickLog,
    products: &[LoggedProduct],
    text: impl Fn(&str) -> Result<Vec<u32>, ModelError>,
    creative: impl Fn(usize) -> Creative,
) -> Result<Vec<TrainingProduct<Creative>>, ModelError> {
    let product = |product: &LoggedProduct| {
        Ok(TrainingProduct {
            input: NetworkInput {
                text: text(&log.products()[product.product].caption)?,
                creatives: product.creatives.iter().map(|place| creative(*place)).collect(),
            },
            counts: product.counts.clone(),
            pairs: product.pairs.clone(),
        })
    };
    products.iter().map(product).collect()
}

/// The training products in two parts.
pub(super) struct Partition {
    pub(super) training: Vec<LoggedProduct>,
    validation: Vec<LoggedProduct>,
}

impl Partition {
    pub(super) fn of(log: &dyn ClickLog, config: &RewardConfig, seed: u64) -> Result<Self, RewardError> {
        let mut products = LoggedProduct::read(log, log.split().train, config.min_impressions);
        if products.iter().all(|product| product.pairs.is_empty()) {
            return Err(RewardError::NoPairs {
                part: "training",
                min_impressions: config.min_impressions,
            });
        }
        products.shuffle(&mut ChaCha8Rng::seed_from_u64(stream_seed(seed, "validation")));
        let kept_back = (products.len() as f64 * config.validation_share).round() as usize;
        let validation = products.split_off((products.len() - kept_back).max(1));
        Ok(Self {
            training: products,
            validation,
        })
    }

    /// The products to calibrate on. A log too small to keep any back is calibrated on what it was trained on, which
    /// makes probabilities too certain.
    pub(super) fn calibration(&self) -> &[LoggedProduct] {
        if self.validation.iter().any(|product| !product.pairs.is_empty()) {
            return &self.validation;
        }
        tracing::warn!(
            products = self.training.len(),
            "reward model calibrated on its training products"
        );
        &self.training
    }
}

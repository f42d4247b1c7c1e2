//! What the server asks of a reward model, whatever its network is.
//!
//! [`RewardModel`](models::ctr::RewardModel) is one that was trained here (`served/trained.rs`), [`ServedCaig`] CAIG's
//! (`served/caig.rs`).

mod caig;
mod trained;

pub use caig::ServedCaig;

use crate::orientation::OrientedMargins;
use crate::scorer::ScoreFailure;
use common::Digest;
use image::RgbImage;
use models::ModelError;
use models::ctr::Calibration;
use std::sync::Arc;

/// What turns a creative into what a model reads; it runs on other threads than the model.
pub type Preparation<Creative> = Arc<dyn Fn(&RgbImage) -> Creative + Send + Sync>;

/// A reward model that can be served.
pub trait ServedModel: Send + 'static {
    /// A creative as the model reads it.
    type Creative: Send + Sync + 'static;

    /// What kind of model it is, in a word.
    fn form(&self) -> String;

    /// Which model it is.
    ///
    /// # Errors
    /// [`ModelError`] when the weights cannot be written down.
    fn digest(&self) -> Result<Digest, ModelError>;

    /// How a creative is prepared.
    fn preparation(&self) -> Preparation<Self::Creative>;

    /// What its raw scores and margins mean.
    fn calibration(&self) -> Calibration;

    /// What it takes at once, which `max_batch` counts.
    fn batch_unit(&self) -> BatchUnit;

    /// Its answer to each group, at most `max_batch` of its units in one pass. A group's answer may depend on the others in
    /// the last bits only.
    fn raw_scores(
        &self,
        groups: &[CreativeGroup<Self::Creative>],
        max_batch: usize,
    ) -> Vec<Result<RawScores, ScoreFailure>>;
}

/// What goes through a network side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchUnit {
    /// Creatives, one by one.
    Creatives,
    /// Ordered pairs of a group's creatives.
    OrderedPairs,
}

impl BatchUnit {
    /// How many of them a group of so many creatives is.
    pub fn of_group(self, creatives: usize) -> usize {
        match self {
            Self::Creatives => creatives,
            Self::OrderedPairs => creatives.saturating_mul(creatives.saturating_sub(1)),
        }
    }
}

/// Creatives of one product, to be compared with each other: pictures, or what a model reads of them.
#[derive(Debug, Clone)]
pub struct CreativeGroup<Creative = RgbImage> {
    /// The seller's caption; may be empty.
    pub caption: String,
    /// The creatives, at least two.
    pub creatives: Vec<Creative>,
}

/// What a model says of one group, before calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct RawScores {
    /// One score a creative.
    pub scores: Vec<f64>,
    /// Margins of its ordered pairs.
    pub margins: OrientedMargins,
}

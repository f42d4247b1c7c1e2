//! Reward networks: what a click-through-rate model computes from creatives and captions, in both forms, and the bundle
//! in which a trained one is kept.
//!
//! [`Siamese`] scores one creative at a time, [`Concat`] compares two. Losses, sampling of pairs, averaging over
//! orientations and the service are not here.

mod caig;
mod caig_network;
mod calibration;
mod concat;
mod reward_model;
mod siamese;
mod texts;

pub use caig::{CAIG_QUESTION, CAIG_QUESTION_WITH_CAPTION, CaigReward, Comparison};
pub use caig_network::{CaigAnswer, CaigNetwork, PairRows};
pub use calibration::Calibration;
pub use concat::{Concat, ConcatConfig, PairPrediction};
#[cfg(test)]
pub(crate) use reward_model::tests::model as small_reward_model;
pub use reward_model::{QUESTION, RewardModel};
pub use siamese::{Siamese, SiameseConfig};
pub use texts::TokenRectangle;

use std::fmt;

use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::weights::{NamedTensors, apply, collect};

/// The two forms of a reward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CtrForm {
    /// One creative, one score: exactly antisymmetric.
    Siamese,
    /// Two creatives side by side, two logits: CAIG's.
    Concat,
}

impl fmt::Display for CtrForm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Siamese => "siamese",
            Self::Concat => "concat",
        })
    }
}

/// Shape of a reward network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum CtrConfig {
    /// One creative, one score.
    Siamese(SiameseConfig),
    /// Two creatives, two logits.
    Concat(ConcatConfig),
}

/// A reward network of either form.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "a process holds one or two of these, never a list"
)]
pub enum CtrNetwork {
    /// One creative, one score.
    Siamese(Siamese),
    /// Two creatives, two logits.
    Concat(Concat),
}

impl CtrConfig {
    /// Fresh weights, a function of the configuration and `seed` alone.
    pub fn init(&self, device: &Device, seed: u64) -> CtrNetwork {
        match self {
            Self::Siamese(config) => CtrNetwork::Siamese(config.init(device, seed)),
            Self::Concat(config) => CtrNetwork::Concat(config.init(device, seed)),
        }
    }

    /// Refuses shapes that cannot be built.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        match self {
            Self::Siamese(config) => config.check(),
            Self::Concat(config) => config.check(),
        }
    }

    /// Which form it is.
    pub fn form(&self) -> CtrForm {
        match self {
            Self::Siamese(_) => CtrForm::Siamese,
            Self::Concat(_) => CtrForm::Concat,
        }
    }

    /// Side of a creative in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Siamese(config) => config.image_size,
            Self::Concat(config) => config.vision.image_size,
        }
    }

    /// Entries of the token table.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Siamese(config) => config.vocab_size,
            Self::Concat(config) => config.text.vocab_size,
        }
    }

    /// Text tokens that are read of one text.
    pub fn max_text_tokens(&self) -> usize {
        match self {
            Self::Siamese(config) => config.max_caption_tokens,
            Self::Concat(config) => config.max_text_tokens,
        }
    }
}

impl CtrNetwork {
    /// All weights by name, in the modules' own layout.
    pub fn weights(&self) -> NamedTensors {
        match self {
            Self::Siamese(network) => collect(network, |_| true),
            Self::Concat(network) => collect(network, |_| true),
        }
    }

    /// The network with these weights.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn with_weights(self, mut weights: NamedTensors) -> Result<Self, ModelError> {
        match self {
            Self::Siamese(network) => apply(network, &mut weights).map(Self::Siamese),
            Self::Concat(network) => apply(network, &mut weights).map(Self::Concat),
        }
    }

    /// The device of the weights, outside autodiff.
    pub fn device(&self) -> Device {
        let table = match self {
            Self::Siamese(network) => &network.embed_tokens,
            Self::Concat(network) => &network.model.embed_tokens,
        };
        table.weight.lazy_device().without_autodiff()
    }
}

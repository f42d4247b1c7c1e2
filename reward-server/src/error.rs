//! What can go wrong while a reward model is trained, measured or served.

use crate::scorer::ScoreFailure;
use common::InvalidConfig;
use data::ImportError;
use models::ModelError;
use models::compute_thread::ComputeError;
use std::path::PathBuf;

/// An error of reward models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// A click log that nothing can be learned or measured from.
    #[error(
        "click log: {part} products have no pair of creatives with more than {min_impressions} impressions each and different click-through rates; lower reward.min_impressions"
    )]
    NoPairs {
        /// Which products: `training` or `test`.
        part: &'static str,
        /// The floor.
        min_impressions: u64,
    },
    /// The loss or its gradient is not a number any more.
    #[error("step {step}: {quantity} is {value}; a lower reward.learning_rate may help")]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// Which number.
        quantity: &'static str,
        /// Its value.
        value: f64,
    },
    /// The caller asked to stop.
    #[error("reward training was cancelled")]
    Cancelled,
    /// What a loaded model would be asked about a product is too long for it.
    #[error("product {product}: the question about it does not fit the reward model: {reason}")]
    Question {
        /// Its id.
        product: String,
        /// What is too long.
        reason: String,
    },
    /// The same of products of a file.
    #[error(transparent)]
    Rows(#[from] ImportError),
    /// A reward model did not answer for a product that it was measured on.
    #[error("click log: product {product}: {failure}")]
    Unscored {
        /// Its id.
        product: String,
        /// Why.
        failure: ScoreFailure,
    },
    /// The networks failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The thread that owns the model failed.
    #[error("the reward model's thread failed")]
    Compute(#[from] ComputeError),
    /// A reward model gives no number for two plain pictures.
    #[error("the reward model is unusable")]
    Unusable(#[source] ScoreFailure),
    /// Another kind of model lies where the served one came from.
    #[error(
        "the directory holds a reward model of form {found}, and one of form {expected} is served: their rewards mean other things; start a server for it"
    )]
    OtherForm {
        /// Of the served model.
        expected: String,
        /// Of the directory's.
        found: String,
    },
    /// A model directory was written to while it was read.
    #[error("{} was written to while it was read", directory.display())]
    Changing {
        /// Which.
        directory: PathBuf,
    },
    /// What starts a reward model panicked.
    #[error("starting the reward model panicked")]
    Starting(#[source] tokio::task::JoinError),
    /// The server's connection failed.
    #[error("the reward server stopped serving")]
    Serve(#[from] tonic::transport::Error),
    /// Requests under way did not finish in time after the server was asked to stop.
    #[error("requests were still under way {seconds} s after the server was asked to stop")]
    DrainTimeout {
        /// The deadline.
        seconds: f64,
    },
}

impl RewardError {
    pub(crate) fn starting(error: tokio::task::JoinError) -> Self {
        Self::Starting(error)
    }

    /// Whether the settings or the click log are at fault rather than the run.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_) | Self::NoPairs { .. } | Self::Question { .. } | Self::Rows(_)
        )
    }
}

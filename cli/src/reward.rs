//! A reward model of either kind: one that was trained here from nothing, or one in the form of CAIG's checkpoints.

use crate::config::Config;
use crate::shop;
use common::Purpose;
use data::{ClickLog, FilePlaces, Product};
use models::ModelError;
use models::ctr::{CaigReward, CtrForm, RewardModel};
use models::device::Placement;
use reward_server::{
    CreativeGroup, RewardError, RewardReport, ScoreResult, ServedCaig, evaluate, score_groups,
};
use std::path::Path;

/// The form of the second kind.
const CAIG: &str = "caig";

/// A reward model and what it takes to ask it.
pub(crate) enum Reward {
    /// Trained here from nothing.
    Trained(Box<RewardModel>),
    /// CAIG's, or one that was trained here on a loaded model.
    Caig(Box<ServedCaig>),
}

impl Reward {
    /// Reads the directory on the configured device. `progress` is told how much of the weights of a large one is read.
    ///
    /// # Errors
    /// [`ModelError`] with the file at fault.
    pub(crate) fn load(
        config: &Config,
        directory: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, ModelError> {
        let Placement { device, dtype } = config.compute.placement()?;
        if RewardModel::is_meant_by(directory) {
            return Ok(Self::Trained(Box::new(RewardModel::load(directory, &device)?)));
        }
        let model = CaigReward::load(directory, &device, dtype, progress)?;
        let question = config.reward_server.question.clone();
        Ok(Self::Caig(Box::new(ServedCaig::new(model, question))))
    }

    /// The same as a model of the first kind.
    ///
    /// # Errors
    /// [`RewardError::OtherForm`] for one of the other.
    pub(crate) fn into_trained(self) -> Result<RewardModel, RewardError> {
        match self {
            Self::Trained(model) => Ok(*model),
            Self::Caig(_) => Err(RewardError::OtherForm {
                expected: format!("{} or {}", CtrForm::Siamese, CtrForm::Concat),
                found: CAIG.into(),
            }),
        }
    }

    /// The same as a model of the second kind.
    ///
    /// # Errors
    /// [`RewardError::OtherForm`] for one of the other.
    pub(crate) fn into_caig(self) -> Result<ServedCaig, RewardError> {
        match self {
            Self::Caig(model) => Ok(*model),
            Self::Trained(model) => Err(RewardError::OtherForm {
                expected: CAIG.into(),
                found: model.form().to_string(),
            }),
        }
    }

    /// Scores groups of creatives, as the reward-server does.
    pub(crate) fn score_groups(&self, groups: &[CreativeGroup], max_batch: usize) -> Vec<ScoreResult> {
        match self {
            Self::Trained(model) => score_groups(model.as_ref(), groups, max_batch),
            Self::Caig(model) => score_groups(model.as_ref(), groups, max_batch),
        }
    }

    /// Whether it can be asked about each of these products, given by their index; `places` are those of a file's products.
    /// Models that were trained here cut long captions.
    ///
    /// # Errors
    /// [`RewardError::Config`], [`RewardError::Rows`] or [`RewardError::Question`] when it cannot.
    pub(crate) fn check<'a>(
        &self,
        products: impl IntoIterator<Item = (usize, &'a Product)>,
        places: Option<&FilePlaces>,
    ) -> Result<(), RewardError> {
        match self {
            Self::Trained(_) => Ok(()),
            Self::Caig(model) => model.check(products, places),
        }
    }

    /// Its figures on the test products of a click log.
    ///
    /// # Errors
    /// As [`evaluate`]; those of [`Self::check`] before it begins.
    pub(crate) fn measure(&self, config: &Config, log: &dyn ClickLog) -> Result<RewardReport, RewardError> {
        let test = log.split().test.map(|index| (index, &log.products()[index]));
        self.check(test, log.places())?;
        let bootstrap = shop::seed(config, Purpose::Bootstrap, 0);
        let (floor, max_batch) = (config.reward.min_impressions, config.reward_server.max_batch);
        match self {
            Self::Trained(model) => evaluate(model.as_ref(), log, floor, max_batch, bootstrap),
            Self::Caig(model) => evaluate(model.as_ref(), log, floor, max_batch, bootstrap),
        }
    }

    /// Whether it only compares, so that the rewards of a group are centred on 0.
    pub(crate) fn compares(&self) -> bool {
        match self {
            Self::Trained(model) => model.form() == CtrForm::Concat,
            Self::Caig(_) => true,
        }
    }

    /// The click-through rate that a reward stands for; CAIG's says nothing of it.
    pub(crate) fn predicted_ctr(&self, reward: f64) -> Option<f64> {
        match self {
            Self::Trained(model) => Some(model.calibration.ctr(reward)),
            Self::Caig(_) => None,
        }
    }
}

//! A reward model that was trained here, as it is served.

use super::{CreativeGroup, Preparation, RawScores, ServedModel};
use crate::forward::{NetworkInput, raw_scores};
use crate::scorer::ScoreFailure;
use common::Digest;
use models::ModelError;
use models::ctr::{Calibration, RewardModel};
use std::sync::Arc;

impl ServedModel for RewardModel {
    /// Its pixels.
    type Creative = Vec<f32>;

    fn form(&self) -> String {
        self.form().to_string()
    }

    fn digest(&self) -> Result<Digest, ModelError> {
        RewardModel::digest(self).map(Digest::from_bytes)
    }

    fn preparation(&self) -> Preparation<Self::Creative> {
        let processor = self.processor.clone();
        Arc::new(move |creative| Self::pixels(&processor, creative))
    }

    fn calibration(&self) -> Calibration {
        self.calibration
    }

    fn raw_scores(
        &self,
        groups: Vec<CreativeGroup<Self::Creative>>,
        max_batch: usize,
    ) -> Vec<Result<RawScores, ScoreFailure>> {
        let input = |group: CreativeGroup<Vec<f32>>| match self.text_ids(&group.caption) {
            Ok(text) => Ok(NetworkInput {
                text,
                creatives: group.creatives,
            }),
            Err(error) => Err(ScoreFailure::of_model(error)),
        };
        let inputs: Vec<_> = groups.into_iter().map(input).collect();
        let ready: Vec<&NetworkInput> = inputs.iter().filter_map(|input| input.as_ref().ok()).collect();
        let mut raw = raw_scores(self, &ready, max_batch).into_iter();
        let mut answer = |input: Result<NetworkInput, ScoreFailure>| {
            input?;
            raw.next().ok_or_else(ScoreFailure::unanswered)
        };
        inputs.into_iter().map(&mut answer).collect()
    }
}

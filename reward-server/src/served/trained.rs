//! A reward model that was trained here, as it is served.

use super::{BatchUnit, CreativeGroup, Preparation, RawScores, ServedModel};
use crate::forward::{InputView, raw_scores};
use crate::scorer::ScoreFailure;
use common::Digest;
use models::ModelError;
use models::ctr::{Calibration, CtrForm, RewardModel};
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

    fn batch_unit(&self) -> BatchUnit {
        match self.form() {
            CtrForm::Siamese => BatchUnit::Creatives,
            CtrForm::Concat => BatchUnit::OrderedPairs,
        }
    }

    fn raw_scores(
        &self,
        groups: &[CreativeGroup<Self::Creative>],
        max_batch: usize,
    ) -> Vec<Result<RawScores, ScoreFailure>> {
        let text = |group: &CreativeGroup<_>| self.text_ids(&group.caption).map_err(ScoreFailure::of_model);
        let texts: Vec<_> = groups.iter().map(text).collect();
        let ready = texts.iter().zip(groups).filter_map(|(text, group)| {
            Some(InputView {
                text: text.as_deref().ok()?,
                creatives: &group.creatives,
            })
        });
        let ready: Vec<_> = ready.collect();
        let mut raw = raw_scores(self, &ready, max_batch).into_iter();
        let mut answer = |text: Result<Vec<u32>, ScoreFailure>| {
            text?;
            raw.next().ok_or_else(ScoreFailure::unanswered)
        };
        texts.into_iter().map(&mut answer).collect()
    }
}

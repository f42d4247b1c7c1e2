//! Fixed completions under fixed prompts: their log-probabilities tell one set of weights from another.

use crate::batch::{CompletionRow, RowLimits, collate};
use crate::error::ModelError;
use crate::image_features::ImageFeatures;
use crate::llava::Llava;
use crate::policy::Policy;
use burn::module::Module;
use image::RgbaImage;

/// One completion about one picture.
#[derive(Debug, Clone, Copy)]
pub struct ProbeRow<'a> {
    /// The instruction, before the template.
    pub instruction: &'a str,
    /// The picture.
    pub image: &'a RgbaImage,
    /// Its tokens, at least one.
    pub completion_ids: &'a [u32],
}

/// Rows that are ready for any weights with the same frozen tower: the pictures have been through it.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Prompt and completion of each row; its picture has the row's position.
    rows: Vec<(Vec<u32>, Vec<u32>)>,
    features: ImageFeatures,
    limits: RowLimits,
}

impl Probe {
    /// Encodes instructions and pictures, each picture alone.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the tokenizer cannot encode an instruction, [`ModelError::Row`] without any row.
    pub fn new(policy: &Policy, rows: &[ProbeRow<'_>]) -> Result<Self, ModelError> {
        let (mut encoded, mut features) = (vec![], vec![]);
        for row in rows {
            let prompt = policy.prompt_ids(row.instruction, true)?;
            encoded.push((prompt, row.completion_ids.to_vec()));
            features.push(policy.image_features(&[row.image])?);
        }
        if features.is_empty() {
            let reason = "a probe needs at least one".into();
            return Err(ModelError::Row { row: 0, reason });
        }
        Ok(Self {
            rows: encoded,
            features: ImageFeatures::cat(features),
            limits: policy.config.row_limits(),
        })
    }

    /// What `model` says of every row: one natural-log probability a token, softmax of the raw logits.
    ///
    /// # Errors
    /// [`ModelError::Row`] when a row does not fit the model.
    pub fn log_probs(&self, model: &Llava) -> Result<Vec<Vec<f32>>, ModelError> {
        let row = |(image, (prompt, completion)): (usize, &'_ (Vec<u32>, Vec<u32>))| {
            let row = CompletionRow {
                prompt_ids: prompt,
                image: Some(image),
                completion_ids: completion,
            };
            // One row at a time: an actor of a 7B policy has its memory full of keys and values.
            let batch = collate(&[row], self.features.lengths(), &self.limits)?;
            let scored = model.valid().completion_log_probs(&batch, Some(&self.features));
            Ok(scored.token_log_probs.into_data().iter().collect())
        };
        self.rows.iter().enumerate().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::LoraConfig;
    use crate::presets::tests::{picture, policy};
    use burn::tensor::TensorData;

    fn probe(policy: &Policy, image: &RgbaImage) -> Probe {
        let row = |completion_ids| ProbeRow {
            instruction: "describe",
            image,
            completion_ids,
        };
        Probe::new(policy, &[row(&[9, 12, 2]), row(&[30])]).unwrap()
    }

    #[test]
    fn each_row_has_one_number_a_token_as_when_asked_alone() {
        let (policy, image) = (policy(1), picture(9, 99, 9));
        let found = probe(&policy, &image).log_probs(&policy.model).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
        let features = policy.image_features(&[&image]).unwrap();
        let row = CompletionRow {
            prompt_ids: &policy.prompt_ids("describe", true).unwrap(),
            image: Some(0),
            completion_ids: &[30],
        };
        let alone = policy.token_log_probs(&row, Some(&features)).unwrap();
        assert!((found[1][0] - alone[0]).abs() < 1e-5, "{found:?}, {alone:?}");
    }

    #[test]
    fn other_weights_give_other_numbers() {
        let (policy, image) = (policy(1), picture(9, 99, 9));
        let probe = probe(&policy, &image);
        let adapted = policy
            .model
            .clone()
            .with_adapter(&LoraConfig::new(2, 2.0), 1)
            .unwrap();
        let doubled = adapted.adapter().into_iter().map(|(name, tensor)| {
            let values = vec![0.1f32; tensor.shape().num_elements()];
            (name, TensorData::new(values, tensor.shape().clone()))
        });
        let trained = adapted.clone().load_adapter(&doubled.collect()).unwrap();
        let off = probe.log_probs(&policy.model).unwrap();
        assert_eq!(
            probe.log_probs(&adapted).unwrap(),
            off,
            "a fresh adapter changes nothing"
        );
        assert_ne!(probe.log_probs(&trained).unwrap(), off);
    }

    #[test]
    fn a_probe_of_nothing_is_refused() {
        assert!(Probe::new(&policy(1), &[]).is_err());
    }
}

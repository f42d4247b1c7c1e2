//! A reward model that was trained here from nothing: its weights against its own description.

use std::path::Path;

use burn::tensor::Device;

use super::{Inspection, digest, dtypes};
use crate::checkpoint::layout::Layout;
use crate::ctr::{CtrNetwork, RewardModel};
use crate::error::ModelError;
use crate::weights::shards::Shards;
use crate::weights::streaming::WeightSource;

/// Inspects its directory.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub(super) fn inspect(dir: &Path) -> Result<Inspection, ModelError> {
    let config = RewardModel::described(dir)?;
    let mut shards = Shards::open(dir)?;
    let dtypes = dtypes(&shards);
    let digest = digest(&shards)?;
    // Nothing is drawn.
    let network = config.init(&Device::flex(), 0);
    let source = WeightSource {
        shards: &mut shards,
        theirs: Box::new(str::to_owned),
        ignored: &|_| false,
        dtype: None,
        progress: &mut |_, _| (),
    };
    let comparison = match &network {
        CtrNetwork::Siamese(network) => source.compare(network),
        CtrNetwork::Concat(network) => source.compare(network),
    };
    Ok(Inspection {
        layout: Layout::AdwrightReward,
        parameters: dtypes.values().sum(),
        dtypes,
        vocab_size: Some(config.vocab_size()),
        tokenizer: Some("json"),
        template: None,
        missing: comparison.missing,
        unused: comparison.unused,
        misshaped: comparison.misshaped,
        digest: format!("blake3:{digest}"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::TensorData;

    use super::super::inspect;
    use super::*;
    use crate::clip::ClipVisionConfig;
    use crate::ctr::{ConcatConfig, CtrConfig, small_reward_model};
    use crate::llama::LlamaConfig;
    use crate::policy::Policy;
    use crate::weights::{from_safetensors, to_safetensors};

    /// The same in the other form.
    fn of_pairs(model: RewardModel) -> RewardModel {
        let config = CtrConfig::Concat(ConcatConfig {
            vision: ClipVisionConfig {
                hidden_size: 8,
                intermediate_size: 16,
                num_hidden_layers: 1,
                num_attention_heads: 2,
                num_channels: 3,
                image_size: model.config.image_size(),
                patch_size: 4,
                layer_norm_eps: 1e-5,
            },
            text: LlamaConfig {
                vocab_size: model.tokenizer.vocab_size(),
                hidden_size: 8,
                intermediate_size: 16,
                num_hidden_layers: 1,
                num_attention_heads: 2,
                num_key_value_heads: 1,
                max_position_embeddings: 32,
                rms_norm_eps: 1e-5,
                rope_theta: 10_000.0,
                rope_scaling: None,
            },
            vision_feature_layer: -1,
            max_text_tokens: 8,
        });
        RewardModel {
            network: config.init(&Device::flex(), 2),
            config,
            ..model
        }
    }

    #[test]
    fn both_forms_are_told_and_nothing_is_missing() {
        for model in [small_reward_model(1), of_pairs(small_reward_model(1))] {
            let dir = tempfile::tempdir().unwrap();
            model.save(dir.path()).unwrap();
            let found = inspect(dir.path()).unwrap();
            assert_eq!(
                serde_json::to_value(found.layout).unwrap(),
                serde_json::json!("adwright-reward")
            );
            let weights = model.network.weights();
            let parameters = weights.values().map(TensorData::num_elements).sum::<usize>() as u64;
            assert_eq!(found.parameters, parameters);
            assert_eq!(found.vocab_size, Some(model.config.vocab_size()));
            let lists = [&found.missing, &found.unused, &found.misshaped];
            assert!(lists.iter().all(|list| list.is_empty()), "{found:?}");
        }
    }

    #[test]
    fn what_its_weights_lack_or_have_too_much_is_told() {
        let dir = tempfile::tempdir().unwrap();
        small_reward_model(1).save(dir.path()).unwrap();
        let path = dir.path().join("model.safetensors");
        let mut weights = from_safetensors(&fs::read(&path).unwrap()).unwrap();
        let (name, data) = weights.pop_first().unwrap();
        weights.insert("extra".into(), data);
        fs::write(&path, to_safetensors(&weights, None).unwrap()).unwrap();
        let found = inspect(dir.path()).unwrap();
        assert_eq!(
            (found.missing, found.unused),
            (vec![name], vec!["extra".to_owned()])
        );
    }

    #[test]
    fn who_wants_a_policy_is_told_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        small_reward_model(1).save(dir.path()).unwrap();
        let text = Policy::load(dir.path(), &Device::flex()).unwrap_err().to_string();
        assert!(
            text.contains("adwright-reward") && text.contains("expected a LLaVA"),
            "{text}"
        );
    }
}

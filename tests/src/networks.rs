//! The smallest networks that have every part.

use burn::tensor::Device;
use data::Corpus;
use models::{
    ModelError,
    clip::ClipVisionConfig,
    ctr::{CtrForm, CtrNetwork, RewardModel},
    init,
    llama::LlamaConfig,
    llava::LlavaConfig,
    policy::Policy,
    processor::ImageProcessor,
    template::PromptTemplate,
    tokenizer::{SpecialTokens, Tokenizer},
};
use reward_server::RewardConfig;

/// Side of the pictures both networks read, in pixels: 4 patches.
const SIDE: usize = 16;

/// A policy with fresh weights.
pub(crate) fn policy(corpus: &dyn Corpus, seed: u64) -> Result<Policy, ModelError> {
    let tokenizer = tokenizer(corpus)?;
    let config = LlavaConfig {
        model_type: "llava".into(),
        vision: ClipVisionConfig {
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_channels: 3,
            image_size: SIDE,
            patch_size: 8,
            layer_norm_eps: 1e-5,
        },
        text: LlamaConfig {
            vocab_size: tokenizer.vocab_size(),
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            max_position_embeddings: 256,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
        },
        image_token_id: tokenizer.image_id(),
        vision_feature_layer: -2,
    };
    Ok(Policy {
        model: config.init(&Device::flex(), seed),
        config,
        tokenizer,
        processor: ImageProcessor::clip(SIDE),
        template: PromptTemplate::short(),
    })
}

/// A reward model with fresh weights: it prefers for no reason, and always the same.
pub(crate) fn reward_model(corpus: &dyn Corpus, seed: u64) -> Result<RewardModel, ModelError> {
    let tokenizer = tokenizer(corpus)?;
    let shape = RewardConfig {
        form: CtrForm::Siamese,
        image_size: SIDE,
        hidden_size: 16,
        intermediate_size: 32,
        layers: 1,
        heads: 2,
        max_text_tokens: 16,
        ..RewardConfig::default()
    };
    let config = shape.network(tokenizer.vocab_size());
    let mut network = config.init(&Device::flex(), seed);
    if let CtrNetwork::Siamese(siamese) = &mut network {
        // A fresh score layer is zero, which would make every group a tie.
        siamese.score.weight = init::normal_param([shape.hidden_size, 1], 1.0, seed, &Device::flex());
    }
    Ok(RewardModel {
        network,
        config,
        tokenizer,
        processor: ImageProcessor::clip(SIDE),
        calibration: Default::default(),
    })
}

fn tokenizer(corpus: &dyn Corpus) -> Result<Tokenizer, ModelError> {
    Tokenizer::train(corpus.texts().into_iter(), 300, SpecialTokens::default())
}

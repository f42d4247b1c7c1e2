//! A policy small enough for tests, and products for it.

use crate::assortment::{Assortment, test_catalogue::catalogue};
use burn::tensor::Device;
use models::clip::ClipVisionConfig;
use models::llama::LlamaConfig;
use models::llava::LlavaConfig;
use models::policy::Policy;
use models::processor::ImageProcessor;
use models::template::PromptTemplate;
use models::tokenizer::{SpecialTokens, Tokenizer};
use std::sync::Arc;
use store::Store;

/// One tower layer behind the selected one, two decoder layers of width 16.
pub(crate) fn policy() -> Policy {
    let corpus = [
        "suggest a background for the lamp",
        "rewrite: the lamp",
        "oak desk, warm light",
    ];
    let tokenizer = Tokenizer::train(corpus.iter(), 300, SpecialTokens::default()).unwrap();
    let config = LlavaConfig {
        model_type: "llava".into(),
        vision: ClipVisionConfig {
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_channels: 3,
            image_size: 16,
            patch_size: 8,
            layer_norm_eps: 1e-5,
        },
        text: LlamaConfig {
            vocab_size: tokenizer.vocab_size(),
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 2,
            max_position_embeddings: 128,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
        },
        image_token_id: tokenizer.image_id(),
        vision_feature_layer: -2,
    };
    Policy {
        model: config.init(&Device::flex(), 4),
        processor: ImageProcessor::clip(config.vision.image_size),
        template: PromptTemplate::short(),
        tokenizer,
        config,
    }
}

/// So many products without categories, seed 5.
pub(crate) fn assortment(products: usize) -> Assortment {
    let store = Store::open("memory:///").unwrap();
    let products = Arc::new(catalogue(&vec![None; products]));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Assortment::open(products, &store, 5)).unwrap()
}

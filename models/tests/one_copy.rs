//! A policy, its reference and the policy in training are one set of weights. Told by what the process holds, so this is a program of its own.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

use burn::module::Module;
use burn::tensor::Device;
use models::batch::{CompletionBatch, CompletionRow, collate};
use models::llava::{Llava, LlavaConfig};
use models::lora::LoraConfig;
use models::presets::tiny;

/// Nearly all of the weights are those that an adapter stands beside.
fn wide() -> LlavaConfig {
    let mut config = tiny(300, 3);
    (config.text.hidden_size, config.text.intermediate_size) = (1024, 2048);
    config
}

fn batch(config: &LlavaConfig) -> CompletionBatch {
    let row = CompletionRow {
        prompt_ids: &[1, 20, 21],
        image: None,
        completion_ids: &[22, 23, 2],
    };
    collate(&[row], &[], &config.row_limits()).unwrap()
}

fn asked(model: &Llava, batch: &CompletionBatch) -> f32 {
    model
        .completion_log_probs(batch, None)
        .mean_negative()
        .into_scalar()
}

/// Bytes of memory that the process holds.
fn held() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

#[test]
fn a_policy_in_training_and_its_reference_share_their_weights() {
    let config = wide();
    let batch = batch(&config);
    let weights = 4 * config.num_parameters() as usize;
    let lora = LoraConfig::new(4, 8.0);
    let empty = held();
    let policy = config.init(&Device::flex(), 1).with_adapter(&lora, 7).unwrap();
    asked(&policy, &batch);
    let one = held();
    // Otherwise a copy would not show.
    assert!(one - empty > weights * 3 / 4, "{} of {weights}", one - empty);

    let reference = policy.without_adapter();
    let training = policy.clone().trainable_adapter_only().train();
    let others = [
        training.without_adapter(),
        reference.clone().with_adapter(&lora, 8).unwrap(),
    ];
    for model in [&reference, &training, &others[0], &others[1]] {
        asked(model, &batch);
    }
    let more = held().saturating_sub(one);
    assert!(more < weights / 4, "{more} bytes more for weights of {weights}");
}

//! Conversions between layouts, which the policy must come through as it was.

use std::path::Path;

use burn::tensor::Device;

use super::{fixtures, picture};
use crate::batch::CompletionRow;
use crate::checkpoint::{Target, convert};
use crate::policy::Policy;

/// Converted, a checkpoint of the LLaVA repository computes the same; converted back, it is the same file.
#[test]
fn parity_survives_a_conversion_and_the_way_back() {
    for seed in 1..=3 {
        let (name, out) = (format!("llava-original/{seed}"), tempfile::tempdir().unwrap());
        let (dir, there) = (fixtures().join(&name), out.path().join("hf"));
        convert(&dir, Target::LlavaHf, &there).unwrap();
        let load = |dir: &Path| Policy::load(dir, &Device::flex()).unwrap();
        let (before, after) = (load(&dir), load(&there));
        assert_eq!(after.config.text.vocab_size % 64, 0);
        let sum = |policy: &Policy| -> Vec<f32> {
            let features = policy.image_features(&[&picture("land.png")]).unwrap();
            let ids = policy
                .raw_prompt_ids("USER: <image>\nWhat is it? ASSISTANT:")
                .unwrap();
            let row = CompletionRow {
                prompt_ids: &ids,
                image: Some(0),
                completion_ids: &policy.completion_ids("Yes.").unwrap(),
            };
            policy.token_log_probs(&row, Some(&features)).unwrap()
        };
        // Some rows more stand in the softmax.
        for (before, after) in sum(&before).into_iter().zip(sum(&after)) {
            assert!((before - after).abs() < 0.3, "{name}: {before} {after}");
        }
        let back = out.path().join("back");
        convert(&there, Target::LlavaOriginal, &back).unwrap();
        assert_eq!(sum(&load(&back)), sum(&before), "{name}");
    }
}

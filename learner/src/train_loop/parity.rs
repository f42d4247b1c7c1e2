//! The loss and its gradients against PyTorch's autograd: rows, numbers and gradients are those that
//! `models/parity/gradients.py` made of a checkpoint of transformers and an adapter of PEFT's.

use super::adapter_gradient::by_name;
use super::*;
use crate::collate::PairMicroBatch;
use crate::config::LossMode;
use crate::log_probs::reference_by_pair;
use burn::tensor::Device;
use models::batch::{CompletionRow, collate};
use models::peft::Adapter;
use models::policy::Policy;
use models::weights::{collect, from_safetensors};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Of a gradient's norm. Both sides add up f32 in other orders over two layers and back.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Expected {
    loss: f64,
    beta: f64,
    pcpo_beta: f64,
    pcpo_weight: f64,
    pcpo_evidence: bool,
    nll_weight: f64,
    support_weight: f64,
    support_threshold: f64,
    /// Chosen, rejected, negative.
    pairs: Vec<[Option<Row>; 3]>,
}

#[derive(Deserialize)]
struct Row {
    image: String,
    prompt: String,
    completion_ids: Vec<u32>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/fixtures")
}

fn micro_batch(policy: &Policy, pairs: &[[Option<Row>; 3]]) -> PairMicroBatch {
    let rows: Vec<&Row> = (0..3)
        .flat_map(|kind| pairs.iter().filter_map(move |pair| pair[kind].as_ref()))
        .collect();
    let pictures: Vec<_> = rows
        .iter()
        .map(|row| image::open(fixtures().join(&row.image)).unwrap().into_rgba8())
        .collect();
    let features = policy
        .image_features(&pictures.iter().collect::<Vec<_>>())
        .unwrap();
    let prompts: Vec<_> = rows
        .iter()
        .map(|row| policy.raw_prompt_ids(&row.prompt).unwrap())
        .collect();
    let laid: Vec<_> = rows
        .iter()
        .zip(&prompts)
        .enumerate()
        .map(|(image, (row, prompt_ids))| CompletionRow {
            prompt_ids,
            image: Some(image),
            completion_ids: &row.completion_ids,
        })
        .collect();
    PairMicroBatch {
        rows: collate(&laid, features.lengths(), &policy.config.row_limits()).unwrap(),
        features,
        pairs: pairs.len(),
        has_negatives: rows.len() == 3 * pairs.len(),
    }
}

#[test]
fn parity_of_the_loss_and_of_every_gradient_with_autograd_in_every_mode() {
    let base = Policy::load(&fixtures().join("llava-hf-1.5/2"), &Device::flex()).unwrap();
    let adapter = Adapter::load(&fixtures().join("peft/2")).unwrap();
    println!("| mode | loss | largest difference of a gradient, of its norm |\n|---|---|---|");
    for mode in LossMode::ALL {
        let file =
            |end: &str| fs::read(fixtures().join(format!("gradients/{}.{end}", mode.as_str()))).unwrap();
        let expected: Expected = serde_json::from_slice(&file("json")).unwrap();
        let theirs = from_safetensors(&file("safetensors")).unwrap();
        let loss = LossConfig {
            beta: expected.beta,
            pcpo_beta: expected.pcpo_beta,
            pcpo_weight: expected.pcpo_weight,
            pcpo_evidence: expected.pcpo_evidence,
            nll_weight: expected.nll_weight,
            support_weight: expected.support_weight,
            support_threshold: expected.support_threshold,
            ..LossConfig::of(mode)
        };
        let policy = adapter
            .attach(base.model.clone())
            .unwrap()
            .trainable_adapter_only()
            .train();
        let batch = micro_batch(&base, &expected.pairs);
        let reference = reference_by_pair(&base.model, &batch, &loss);
        let reference: Vec<&PairReference> = reference.iter().collect();
        let loss_of = |logits: &CompletionLogits| {
            let loss = pair_losses(logits, &batch, &reference, &loss).0.sum();
            let value = loss.clone().into_scalar::<f64>();
            (loss, value)
        };
        // With activation checkpointing and without.
        let worst = [true, false].map(|checkpointing| {
            let features = Some(&batch.features);
            let (gradients, value) = policy.backward(&batch.rows, features, checkpointing, loss_of);
            let share = (value - expected.loss).abs() / expected.loss.abs();
            assert!(share < 1e-5, "{mode:?}: loss {value} {}", expected.loss);
            let worst = largest_difference(&policy, &gradients, &theirs);
            assert!(worst < TOLERANCE, "{mode:?}: {worst}");
            worst
        });
        let worst = worst[0].max(worst[1]);
        println!("| {} | {:.6} | {worst:.0e} |", mode.as_str(), expected.loss);
    }
}

/// Over all factors, of which each has a gradient on both sides.
fn largest_difference(policy: &Llava, gradients: &GradientsParams, theirs: &NamedTensors) -> f64 {
    let ours = by_name(policy, gradients);
    // Read as an adapter's values, they come under our names and in our layout.
    let theirs = policy.clone().load_adapter(theirs).unwrap();
    let theirs = collect(&theirs, |name| name.contains(".lora."));
    assert_eq!(ours.len(), theirs.len());
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let mut worst = 0.0f64;
    for (path, theirs) in theirs {
        let parts: Vec<&str> = path.split('.').collect();
        let ours = match parts[..] {
            [_, "lm_head", _, factor] => &ours[&format!("head.{}", factor.to_uppercase())],
            [_, _, _, layer, _, projection, _, factor] => {
                let projection = projection.trim_end_matches("_proj");
                &ours[&format!("{layer}.{projection}.{}", factor.to_uppercase())]
            }
            _ => panic!("{path}"),
        };
        let theirs: Vec<f64> = theirs.iter().collect();
        let difference: Vec<f64> = ours
            .iter()
            .zip(&theirs)
            .map(|(ours, theirs)| ours - theirs)
            .collect();
        assert!(norm(&theirs) > 0.0, "{path}");
        worst = worst.max(norm(&difference) / norm(&theirs));
    }
    worst
}

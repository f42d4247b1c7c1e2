//! The loop on a tiny policy: it learns, it repeats, and its gradients are right.

use super::*;
use crate::config::{LossConfig, LossMode, Partner};
use crate::pair_buffer::{BatchRule, PairBuffer};
use crate::test_outcomes::{pair_of, version};
use crate::test_policy::{assortment, policy};
use burn::tensor::DType;
use common::RolloutOutcome;
use models::device::Placement;
use models::lora::LoraConfig;
use models::policy::Policy;
use models::weights;
use std::sync::Arc;

const COMPLETIONS: [&[u32]; 2] = [&[40, 41, 2], &[30, 31, 32, 2]];

fn config(mode: LossMode) -> LearnerConfig {
    let mut config = LearnerConfig {
        versions: 2,
        pairs_per_version: 8,
        passes: 2,
        minibatch_pairs: 4,
        lora: LoraConfig::new(2, 4.0),
        loss: LossConfig {
            mode,
            partner: Partner::Uniform,
            ..LossConfig::default()
        },
        ..LearnerConfig::default()
    };
    config.optimizer.warmup_steps = 0;
    config.optimizer.learning_rate = 1e-2;
    config
}

/// A trainer whose adapter is `fresh`, or has both factors different from zero.
fn trainer(config: &LearnerConfig, threads: usize, fresh: bool) -> Trainer {
    trainer_of(policy(), config, threads, fresh)
}

fn trainer_of(policy: Policy, config: &LearnerConfig, threads: usize, fresh: bool) -> Trainer {
    let (policy, assortment) = (Arc::new(policy), Arc::new(assortment(4)));
    let partners = assortment.partners(config.loss.partner);
    let mut model = policy.model.clone().with_adapter(&config.lora, 5).unwrap();
    if !fresh {
        let mut adapter = model.adapter();
        for (index, data) in adapter.values_mut().enumerate() {
            let wave = |i: usize| 0.3 * ((i * 7 + index * 3) as f32).sin();
            let values: Vec<f32> = (0..data.num_elements()).map(wave).collect();
            *data = burn::tensor::TensorData::new(values, data.shape().clone());
        }
        model = model.load_adapter(&adapter).unwrap();
    }
    let collator = Collator::new(policy, assortment, partners, config.loss.clone(), 3, 64);
    Trainer::new(model, collator, config.clone(), 3, threads).unwrap()
}

fn buffer(config: &LearnerConfig) -> PairBuffer {
    let rule = BatchRule {
        pairs_per_version: config.pairs_per_version,
        max_staleness: 9,
        deterministic: false,
        max_tasks: 100,
    };
    let buffer = PairBuffer::new(rule, version(0));
    let pairs = config.versions * config.pairs_per_version as u64;
    (0..pairs).for_each(|task| buffer.arrive(RolloutOutcome::Pair(pair_of(task, 0, COMPLETIONS))));
    buffer
}

fn train(config: &LearnerConfig, threads: usize) -> Vec<TrainedVersion> {
    train_with(&mut trainer(config, threads, true), config)
}

fn train_with(trainer: &mut Trainer, config: &LearnerConfig) -> Vec<TrainedVersion> {
    let mut published = vec![];
    let publish = |trained| {
        published.push(trained);
        Ok(())
    };
    trainer
        .train(
            version(0),
            &mut &buffer(config),
            &CancellationToken::new(),
            &mut StepLog::default(),
            publish,
        )
        .unwrap();
    published
}

#[test]
fn training_prefers_the_chosen_and_the_own_product_more_and_more() {
    let config = LearnerConfig {
        versions: 4,
        ..config(LossMode::JointSwap)
    };
    let published = train(&config, 2);
    assert_eq!(
        published.iter().map(|p| p.version.number).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let (first, last) = (&published[0].metrics, &published[3].metrics);
    assert!(
        last["rewards_margin"] > first["rewards_margin"] + 0.1,
        "{first:?} {last:?}"
    );
    assert!(last["loss"] < first["loss"], "{first:?} {last:?}");
    assert_eq!(first["staleness_max"], 0.0);
    assert_eq!(last["staleness_max"], 3.0);
    assert!(first.contains_key("margin_pcpo") && first["grad_norm"] > 0.0);
}

#[test]
fn every_mode_trains_and_the_first_step_starts_at_ln_2() {
    for mode in LossMode::ALL {
        let config = LearnerConfig {
            versions: 1,
            passes: 1,
            minibatch_pairs: 8,
            ..config(mode)
        };
        let metrics = &train(&config, 1)[0].metrics;
        let terms = if mode == LossMode::Dpo {
            1.0
        } else {
            1.0 + config.loss.pcpo_weight
        };
        // Of the reference itself, what is left to impossible tokens.
        let support = metrics.get("loss_support").copied().unwrap_or(0.0);
        assert_eq!(metrics.contains_key("loss_support"), config.loss.has_support());
        let held = config.loss.nll_weight * metrics["loss_nll"] + config.loss.support_weight * support;
        let expected = terms * std::f64::consts::LN_2 + held;
        assert!(
            (metrics["loss"] - expected).abs() < 1e-4,
            "{mode}: {}",
            metrics["loss"]
        );
    }
}

#[test]
fn threads_change_no_bit_and_the_split_changes_only_rounding() {
    let config = config(LossMode::JointSwap);
    let bytes = |published: &[TrainedVersion]| models::peft::adapter_bytes(&published[1].adapter).unwrap();
    let one = train(&config, 1);
    assert_eq!(bytes(&one), bytes(&train(&config, 3)));
    let whole = train(
        &LearnerConfig {
            micro_batches: 1,
            ..config
        },
        1,
    );
    let difference = (one[0].metrics["loss"] - whole[0].metrics["loss"]).abs();
    assert!(difference < 1e-4, "{difference}");
}

#[test]
fn activation_checkpointing_changes_only_rounding() {
    let config = config(LossMode::JointSwap);
    let kept = train(&config, 1);
    let checkpointed = train(
        &LearnerConfig {
            activation_checkpointing: true,
            ..config
        },
        1,
    );
    for (kept, checkpointed) in kept.iter().zip(&checkpointed) {
        for (name, expected) in &kept.adapter {
            let found = checkpointed.adapter[name].iter::<f32>();
            for (a, b) in expected.iter::<f32>().zip(found) {
                // Adam divides by the size of the gradient: what is only rounding moves by a step.
                assert!((a - b).abs() < 2e-3, "{name}: {a} {b}");
            }
        }
        let difference = (kept.metrics["loss"] - checkpointed.metrics["loss"]).abs();
        assert!(difference < 1e-4, "{difference}");
    }
}

#[test]
fn dropout_of_the_adapter_trains_and_repeats_on_any_number_of_threads() {
    let mut config = config(LossMode::JointSwap);
    let bytes = |published: &[TrainedVersion]| models::peft::adapter_bytes(&published[1].adapter).unwrap();
    let without = bytes(&train(&config, 1));
    config.lora.dropout = 0.25;
    let with = train(&config, 1);
    assert_ne!(bytes(&with), without);
    assert_eq!(bytes(&with), bytes(&train(&config, 3)));
    config.activation_checkpointing = true;
    let difference = (with[1].metrics["loss"] - train(&config, 1)[1].metrics["loss"]).abs();
    assert!(difference < 1e-3, "masks differ: {difference}");
}

#[test]
fn a_frozen_policy_in_bf16_trains_an_adapter_in_f32() {
    let directory = tempfile::tempdir().unwrap();
    policy().save(directory.path()).unwrap();
    let half = Placement {
        dtype: DType::BF16,
        ..Placement::cpu()
    };
    let policy = Policy::load_on(directory.path(), &half, &mut |_, _| ()).unwrap();
    let config = LearnerConfig {
        versions: 4,
        ..config(LossMode::JointSwap)
    };
    for activation_checkpointing in [false, true] {
        let config = LearnerConfig {
            activation_checkpointing,
            ..config.clone()
        };
        let mut trainer = trainer_of(policy.clone(), &config, 1, true);
        let published = train_with(&mut trainer, &config);
        let (first, last) = (&published[0].metrics, &published[3].metrics);
        assert!(
            last["rewards_margin"] > first["rewards_margin"] + 0.1,
            "{first:?} {last:?}"
        );
        assert!(
            published[3]
                .adapter
                .values()
                .all(|data| data.dtype() == DType::F32)
        );
        let frozen = &trainer.policy.language_model.model.layers[0].mlp.up_proj.weight;
        assert_eq!(frozen.val().dtype(), DType::BF16);
    }
}

#[test]
fn a_stopped_loop_publishes_nothing_half_trained() {
    let (config, stop) = (config(LossMode::Dpo), CancellationToken::new());
    stop.cancel();
    let mut trainer = trainer(&config, 1, true);
    let before = trainer.adapter().unwrap();
    let mut log = StepLog::default();
    let end = trainer.train(version(0), &mut &buffer(&config), &stop, &mut log, |_| {
        panic!("published")
    });
    assert!(matches!(end, Err(LearnerError::Cancelled)));
    assert_eq!(trainer.adapter().unwrap(), before);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_with_its_step() {
    let mut config = config(LossMode::JointSwap);
    config.optimizer.learning_rate = 1e30;
    let end = trainer(&config, 1, true).train(
        version(0),
        &mut &buffer(&config),
        &CancellationToken::new(),
        &mut StepLog::default(),
        |_| Ok(()),
    );
    assert!(matches!(end, Err(LearnerError::NotFinite { .. })), "{end:?}");
}

/// The whole chain (prompt, picture, decoder, adapter, all terms) by central differences. That each mode's gradient is made
/// of its rows' own ones is shown in `closed_form.rs`.
#[test]
fn gradients_of_both_factors_agree_with_finite_differences() {
    let config = config(LossMode::JointSwap);
    let mut trainer = trainer(&config, 1, false);
    let pairs = (0..4).map(|task| (&pair_of(task, 0, COMPLETIONS)).into());
    let batch = PairBatch {
        version: version(0),
        pairs: pairs.collect(),
        sampled: None,
    };
    let batch = trainer.collator.collate(&batch).unwrap();
    let reference = trainer.reference_passes(&batch).unwrap();
    let reference: Vec<&PairReference> = reference.iter().collect();
    let micro_batch = || batch.micro_batch(&[0, 1, 2, 3]).unwrap();
    let loss = |policy: &Llava| {
        let batch = micro_batch();
        let logits = policy.completion_logits(&batch.rows, Some(&batch.features));
        pair_losses(&logits, &batch, &reference, &config.loss).0.mean()
    };
    let (gradients, _) =
        gradients::accumulate(&trainer.policy, vec![()], 1, |policy, ()| (loss(policy), ())).unwrap();
    let at = |name: &str, entry: usize, shift: f32| {
        let mut weights = weights::collect(&trainer.policy, |n| n == name);
        let data = weights.get_mut(name).unwrap();
        let mut values: Vec<f32> = data.iter::<f32>().collect();
        values[entry] += shift;
        *data = burn::tensor::TensorData::new(values, data.shape().clone());
        let moved = weights::apply_matching(trainer.policy.clone(), &mut weights, |n| n == name).unwrap();
        f64::from(loss(&moved).into_scalar::<f32>())
    };
    let layer = &trainer.policy.language_model.model.layers[1];
    for (linear, path) in [
        (&layer.self_attn.q_proj, "self_attn.q_proj"),
        (&layer.mlp.down_proj, "mlp.down_proj"),
    ] {
        let branch = linear.lora.as_ref().unwrap();
        for (factor, parameter) in [("a", &branch.a), ("b", &branch.b)] {
            let name = format!("language_model.model.layers.1.{path}.lora.{factor}");
            let found: Vec<f64> = gradients
                .get::<2>(parameter.id)
                .unwrap()
                .into_data()
                .iter::<f64>()
                .collect();
            for entry in [0, 3, found.len() - 1] {
                let step = 1e-2;
                let expected = (at(&name, entry, step) - at(&name, entry, -step)) / (2.0 * f64::from(step));
                let tolerance = 2e-3 + 0.02 * expected.abs();
                assert!(
                    (found[entry] - expected).abs() < tolerance,
                    "{name} {entry}: {} is not {expected}",
                    found[entry]
                );
            }
        }
    }
}

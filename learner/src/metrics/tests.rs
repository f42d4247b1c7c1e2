use super::*;
use crate::account::Account;
use crate::account::Refused;
use crate::test_outcomes::{pair_of, version};
use crate::training_pair::Sampled;
use common::Guardrail;
use std::collections::BTreeSet;

fn nats(chosen: f64, rejected: f64, negative: Option<f64>) -> PairNats {
    PairNats {
        chosen,
        rejected,
        contrast: negative.map(|negative| Contrast {
            own: chosen,
            negative,
        }),
        support: negative.map(|_| -0.25),
        chosen_tokens: 4.0,
    }
}

/// CAIG's weights, without an anchor.
fn config() -> LossConfig {
    LossConfig {
        beta: 0.5,
        pcpo_beta: 0.5,
        pcpo_weight: 1.0,
        nll_weight: 0.0,
        ..LossConfig::default()
    }
}

fn taken(grad_norm: f64) -> StepTaken {
    StepTaken {
        loss: 7.0,
        grad_norm,
        learning_rate: 1e-3,
    }
}

/// Every token was sampled with log-probability -0.5.
fn sampled() -> TrainingPair {
    (&pair_of(0, 0, [&[5, 2], &[6, 7, 8, 2]])).into()
}

fn metrics(policy: &[PairNats], reference: &[PairNats], config: &LossConfig) -> StepMetrics {
    let pair = sampled();
    let pairs = vec![&pair; policy.len()];
    StepMetrics::new(&pairs, policy, reference, config, taken(2.0))
}

fn batch() -> PairBatch {
    PairBatch {
        version: version(1),
        pairs: vec![sampled()],
        sampled: Some(Sampled {
            mean_reward: 0.25,
            no_pairs: 3,
            barred: Guardrail::ALL
                .map(|guardrail| (guardrail.name().to_owned(), 2))
                .into(),
            staleness_max: 1,
            account: Account {
                cursor: 1,
                trained: 1,
                refused: Refused::default(),
            },
        }),
    }
}

#[test]
fn equal_log_probs_give_ln_2_twice_and_even_accuracies() {
    let pairs = [nats(-10.0, -12.0, Some(-30.0)); 2];
    let config = LossConfig {
        nll_weight: 0.4,
        ..config()
    };
    let metrics = metrics(&pairs, &pairs, &config).values;
    // Four tokens of 2.5 nats each.
    assert_eq!(metrics["loss_nll"], 2.5);
    for name in ["loss_dpo", "loss_pcpo"] {
        assert!((metrics[name] - std::f64::consts::LN_2).abs() < 1e-12);
    }
    assert_eq!((metrics["accuracy_dpo"], metrics["accuracy_pcpo"]), (0.5, 0.5));
    assert_eq!(
        metrics["loss"], 7.0,
        "the loss is what was followed, not made up here"
    );
}

#[test]
fn rewards_margins_and_accuracies_are_betas_times_log_ratios() {
    let policy = [nats(-9.0, -14.0, Some(-30.0)), nats(-11.0, -11.0, Some(-25.0))];
    let reference = [nats(-10.0, -12.0, Some(-28.0)), nats(-9.0, -12.0, Some(-28.0))];
    let config = LossConfig {
        pcpo_beta: 0.25,
        ..config()
    };
    let metrics = metrics(&policy, &reference, &config).values;
    assert_eq!(metrics["rewards_chosen"], 0.5 * (1.0 - 2.0) / 2.0);
    assert_eq!(metrics["rewards_rejected"], 0.5 * (-2.0 + 1.0) / 2.0);
    assert_eq!(metrics["rewards_margin"], 0.5 * (3.0 - 3.0) / 2.0);
    assert_eq!(metrics["rewards_chosen_pcpo"], 0.25 * (1.0 - 2.0) / 2.0);
    assert_eq!(metrics["rewards_negative"], 0.25 * (-2.0 + 3.0) / 2.0);
    assert_eq!(metrics["margin_pcpo"], 0.25 * (3.0 - 5.0) / 2.0);
    assert_eq!((metrics["accuracy_dpo"], metrics["accuracy_pcpo"]), (0.5, 0.5));
}

#[test]
fn without_a_negative_or_an_anchor_there_are_no_numbers_of_theirs() {
    let pairs = [nats(-1.0, -2.0, None)];
    let metrics = metrics(&pairs, &pairs, &config()).values;
    let theirs = |name: &&&str| name.contains("pcpo") || ["rewards_negative", "loss_nll"].contains(name);
    assert_eq!(metrics.keys().find(theirs), None);
}

#[test]
fn the_gap_to_the_behaviour_policy_is_that_of_the_first_step() {
    let pair = sampled();
    let told = |completion: &Completion| completion.behaviour.unwrap();
    let (chosen, rejected) = (told(&pair.chosen), told(&pair.rejected));
    let off = |by: f64| nats(chosen + by, rejected - by / 2.0, None);
    let step = |by: f64| {
        let reference = [nats(chosen, rejected, None)];
        StepMetrics::new(&[&pair], &[off(by)], &reference, &config(), taken(1.0))
    };
    let steps = [step(0.2), step(4.0)];
    let gap = |metrics: Option<f64>| metrics.unwrap();
    assert!((gap(steps[1].get(BEHAVIOUR_GAP)) - 3.0).abs() < 1e-12);
    let version = version_metrics(&steps, &batch(), &[nats(chosen, rejected, None)]);
    assert!((version[BEHAVIOUR_GAP] - 0.15).abs() < 1e-12, "{version:?}");
}

#[test]
fn kl_entropy_and_length_are_those_of_the_behaviour_policy() {
    let steps: Vec<_> = [1.0, 3.0]
        .map(|grad_norm| {
            let pairs = [nats(-1.0, -2.0, None)];
            StepMetrics::new(&[&sampled()], &pairs, &pairs, &config(), taken(grad_norm))
        })
        .into();
    let step = &steps[0].values;
    assert_eq!(step["kl"], ((-2.0 + 1.0) + (-1.0 + 2.0)) / 2.0);
    assert_eq!((step["entropy"], step["completion_tokens"]), (0.5, 3.0));
    let metrics = version_metrics(&steps, &batch(), &[nats(-3.0, -1.5, None)]);
    assert_eq!(metrics["kl"], ((-2.0 + 3.0) + (-1.0 + 1.5)) / 2.0);
    assert_eq!((metrics["entropy"], metrics["completion_tokens"]), (0.5, 3.0));
    assert_eq!(
        (metrics["grad_norm"], metrics["no_pairs"], metrics["reward"]),
        (2.0, 3.0, 0.25)
    );
}

#[test]
fn docs_metrics_md_has_every_metric_and_no_other() {
    let text = include_str!("../../../docs/metrics.md");
    let table = text.split("## Demo").next().unwrap();
    let documented: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let pairs = [nats(-1.0, -2.0, Some(-3.0))];
    let loss = LossConfig {
        importance_clip: 1.0,
        ..LossConfig::default()
    };
    let step = metrics(&pairs, &pairs, &loss);
    let version = version_metrics(std::slice::from_ref(&step), &batch(), &pairs);
    let emitted: BTreeSet<&str> = step
        .values
        .keys()
        .copied()
        .chain(version.keys().map(String::as_str))
        .collect();
    assert_eq!(documented, emitted);
}

//! The losses and their gradients against closed forms.

use super::*;
use burn::tensor::{Device, TensorData};

/// Log-probabilities of three pairs: chosen, rejected, negative.
const POLICY: [[f64; 3]; 3] = [[-12.0, -9.5, -30.0], [-11.0, -11.0, -20.0], [-60.0, -10.0, -19.0]];
const REFERENCE: [[f64; 3]; 3] = [
    [-10.0, -10.0, -18.0],
    [-11.0, -11.0, -20.0],
    [-20.0, -70.0, -29.0],
];

fn column<const N: usize>(values: [[f64; 3]; N], column: usize) -> Tensor<1> {
    let values: Vec<f32> = values.iter().map(|pair| pair[column] as f32).collect();
    Tensor::from_data(TensorData::new(values, [N]), &Device::flex())
}

fn log_probs(values: [[f64; 3]; 3], with_negative: bool) -> PairLogProbs {
    PairLogProbs {
        chosen: column(values, 0),
        rejected: column(values, 1),
        contrast: with_negative.then(|| Contrast {
            own: column(values, 0),
            negative: column(values, 2),
        }),
        support: None,
        chosen_tokens: tokens(),
    }
}

/// Tokens of the chosen completions.
const TOKENS: [f64; 3] = [12.0, 5.0, 15.0];

fn tokens() -> Tensor<1> {
    column(TOKENS.map(|tokens| [tokens, 0.0, 0.0]), 0)
}

fn host(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-5 * (1.0 + expected.abs()),
            "{found} is not {expected}"
        );
    }
}

fn config(pcpo_weight: f64) -> LossConfig {
    LossConfig {
        beta: 0.5,
        pcpo_beta: 0.3,
        pcpo_weight,
        nll_weight: 0.0,
        ..LossConfig::default()
    }
}

/// `m_dpo` and `m_pc` of each pair.
fn margins() -> Vec<(f64, f64)> {
    let ratio = |pair: usize, which: usize| POLICY[pair][which] - REFERENCE[pair][which];
    (0..3)
        .map(|pair| (ratio(pair, 0) - ratio(pair, 1), ratio(pair, 0) - ratio(pair, 2)))
        .collect()
}

#[test]
fn equal_log_probs_give_ln_2_times_one_plus_the_weight() {
    let policy = log_probs(POLICY, true);
    for weight in [0.0, 0.5, 1.0] {
        let loss = host(pcpo_loss(&policy, &policy, &config(weight)));
        assert_close(&loss, &[std::f64::consts::LN_2 * (1.0 + weight); 3]);
    }
}

#[test]
fn both_terms_are_the_closed_form() {
    let loss = pcpo_loss(
        &log_probs(POLICY, true),
        &log_probs(REFERENCE, true),
        &config(0.7),
    );
    let expected: Vec<f64> = margins()
        .iter()
        .map(|(dpo, pc)| -sigmoid(0.5 * dpo).ln() - 0.7 * sigmoid(0.3 * pc).ln())
        .collect();
    assert_close(&host(loss), &expected);
}

#[test]
fn without_a_negative_the_loss_is_plain_dpo() {
    let loss = pcpo_loss(
        &log_probs(POLICY, false),
        &log_probs(REFERENCE, false),
        &config(1.0),
    );
    let expected: Vec<f64> = margins()
        .iter()
        .map(|(dpo, _)| -sigmoid(0.5 * dpo).ln())
        .collect();
    assert_close(&host(loss), &expected);
}

#[test]
fn gradients_are_the_closed_form_also_at_margin_zero() {
    let leaf = |which| column(POLICY, which).autodiff().require_grad();
    let (chosen, rejected, negative) = (leaf(0), leaf(1), leaf(2));
    let policy = PairLogProbs {
        chosen: chosen.clone(),
        rejected: rejected.clone(),
        contrast: Some(Contrast {
            own: chosen.clone(),
            negative: negative.clone(),
        }),
        support: None,
        chosen_tokens: tokens(),
    };
    let (beta, pcpo_beta, weight, pairs) = (0.5, 0.3, 0.7, 3.0);
    let loss = pcpo_loss(&policy, &log_probs(REFERENCE, true), &config(weight)).mean();
    let gradients = loss.backward();
    let gradient = |leaf: &Tensor<1>| host(leaf.grad(&gradients).unwrap());
    let dpo = |margin: f64| beta * sigmoid(-beta * margin) / pairs;
    let pc = |margin: f64| weight * pcpo_beta * sigmoid(-pcpo_beta * margin) / pairs;
    let each =
        |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> { margins().iter().map(|&(d, p)| f(d, p)).collect() };
    assert_close(&gradient(&chosen), &each(&|d, p| -dpo(d) - pc(p)));
    assert_close(&gradient(&rejected), &each(&|d, _| dpo(d)));
    assert_close(&gradient(&negative), &each(&|_, p| pc(p)));
}

#[test]
fn the_anchor_is_the_mean_over_the_chosen_tokens_and_its_gradient_reaches_nothing_else() {
    let anchored = LossConfig {
        nll_weight: 0.4,
        ..config(0.7)
    };
    let leaf = |which| column(POLICY, which).autodiff().require_grad();
    let (chosen, rejected) = (leaf(0), leaf(1));
    let policy = PairLogProbs {
        chosen: chosen.clone(),
        rejected: rejected.clone(),
        ..log_probs(POLICY, true)
    };
    let reference = log_probs(REFERENCE, true);
    let added = pcpo_loss(&policy, &reference, &anchored) - pcpo_loss(&policy, &reference, &config(0.7));
    let expected: Vec<f64> = (0..3).map(|i| -0.4 * POLICY[i][0] / TOKENS[i]).collect();
    assert_close(&host(added.clone()), &expected);
    let gradients = added.sum().backward();
    let gradient = |leaf: &Tensor<1>| host(leaf.grad(&gradients).unwrap());
    assert_close(&gradient(&chosen), &TOKENS.map(|tokens| -0.4 / tokens));
    assert_close(&gradient(&rejected), &[0.0; 3]);
}

#[test]
fn what_leaves_the_support_is_added_with_its_weight_and_its_gradient_reaches_nothing_else() {
    let held = LossConfig {
        support_weight: 1.5,
        ..config(0.7)
    };
    let support = column([[-0.25], [0.0], [-3.0]].map(|[nats]| [nats, 0.0, 0.0]), 0)
        .autodiff()
        .require_grad();
    let negative = column(POLICY, 2).autodiff().require_grad();
    let policy = PairLogProbs {
        contrast: Some(Contrast {
            own: column(POLICY, 0),
            negative: negative.clone(),
        }),
        support: Some(support.clone()),
        ..log_probs(POLICY, true)
    };
    let reference = log_probs(REFERENCE, true);
    let free = PairLogProbs {
        support: None,
        ..policy.clone()
    };
    let added = pcpo_loss(&policy, &reference, &held) - pcpo_loss(&free, &reference, &held);
    assert_close(&host(added.clone()), &[0.375, 0.0, 4.5]);
    let gradients = added.sum().backward();
    let gradient = |leaf: &Tensor<1>| host(leaf.grad(&gradients).unwrap());
    assert_close(&gradient(&support), &[-1.5; 3]);
    assert_close(&gradient(&negative), &[0.0; 3]);
}

#[test]
fn extreme_margins_stay_finite() {
    let far = |value: f64| PairLogProbs {
        chosen: column([[value, 0.0, 0.0]], 0),
        rejected: column([[-value, 0.0, 0.0]], 0),
        contrast: None,
        support: None,
        chosen_tokens: column([[9.0, 0.0, 0.0]], 0),
    };
    for value in [1e4, -1e4] {
        let loss = host(pcpo_loss(&far(value), &far(0.0), &config(1.0)));
        assert!(loss[0].is_finite() && loss[0] >= 0.0, "{loss:?}");
    }
}

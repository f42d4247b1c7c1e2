//! Loss and gradient of every mode against closed forms, through the real rows and a network whose adapter is on in both
//! factors.
//!
//! What is expected is made another way: each completion is scored alone, the loss and what it asks of each completion are
//! computed from those numbers in 64 bits, and the gradient is the sum of the rows' own gradients, weighted so.

mod bench;

use super::adapter_gradient::{Gradient, add, assert_close, by_name};
use super::*;
use crate::config::LossMode;
use crate::negatives::ProductImage;
use crate::test_outcomes::{pair_of, version};
use bench::{Bench, Row, Rows, Scored};
use std::collections::BTreeMap;

const PAIRS: usize = 6;
const RUN_SEED: u64 = 9;
/// The order in which a step takes the pairs.
const ORDER: [usize; PAIRS] = [4, 0, 2, 5, 1, 3];

/// Pairs that differ in every completion and in their lengths.
fn batch() -> PairBatch {
    let pair = |task: u32| {
        let chosen: Vec<u32> = (0..2 + task % 3).map(|i| 30 + task + i).chain([2]).collect();
        let rejected: Vec<u32> = (0..3 - task % 2).map(|i| 60 + task + i).chain([2]).collect();
        (&pair_of(u64::from(task), 0, [&rejected, &chosen])).into()
    };
    PairBatch {
        version: version(0),
        pairs: (0..PAIRS as u32).map(pair).collect(),
        sampled: None,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Mean loss and its gradient from the rows' own numbers.
fn closed_form(rows: &[Rows], loss: &LossConfig, mut score: impl FnMut(&Row) -> Scored) -> (f64, Gradient) {
    let (mut total, mut gradient) = (0.0, Gradient::new());
    let mean = 1.0 / rows.len() as f64;
    for pair in rows {
        let (chosen, rejected) = (score(&pair.chosen), score(&pair.rejected));
        let tokens = pair.chosen.completion.len() as f64;
        let ratio = |row: &Scored| row.under_policy - row.under_reference;
        let margin = ratio(&chosen) - ratio(&rejected);
        total += mean * (-sigmoid(loss.beta * margin).ln() - loss.nll_weight * chosen.under_policy / tokens);
        let pull = mean * loss.beta * sigmoid(-loss.beta * margin);
        add(
            &mut gradient,
            -pull - mean * loss.nll_weight / tokens,
            &chosen.gradient,
        );
        add(&mut gradient, pull, &rejected.gradient);
        let Some(negative) = &pair.negative else { continue };
        let negative = score(negative);
        let weights = evidence(&chosen, &negative, loss);
        let counted = |row: &Scored| -> f64 {
            let tokens = row.tokens.iter().zip(&weights);
            tokens
                .map(|(token, weight)| weight * (token.under_policy - token.under_reference))
                .sum()
        };
        let margin = counted(&chosen) - counted(&negative);
        total -= mean * loss.pcpo_weight * sigmoid(loss.pcpo_beta * margin).ln();
        let pull = mean * loss.pcpo_weight * loss.pcpo_beta * sigmoid(-loss.pcpo_beta * margin);
        for (row, pull) in [(&chosen, -pull), (&negative, pull)] {
            for (token, weight) in row.tokens.iter().zip(&weights) {
                add(&mut gradient, pull * weight, &token.gradient);
            }
        }
        total -= mean * loss.support_weight * negative.support;
        add(
            &mut gradient,
            -mean * loss.support_weight,
            &negative.support_gradient,
        );
    }
    (total, gradient)
}

/// By how much each token counts: by `(p - q) / (p + q)` where that is not negative, or all alike.
fn evidence(chosen: &Scored, negative: &Scored, loss: &LossConfig) -> Vec<f64> {
    if !loss.pcpo_evidence {
        return vec![1.0; chosen.tokens.len().max(negative.tokens.len())];
    }
    assert_eq!(chosen.tokens.len(), negative.tokens.len());
    let tokens = chosen.tokens.iter().zip(&negative.tokens);
    tokens
        .map(|(own, other)| {
            let (p, q) = (own.under_reference.exp(), other.under_reference.exp());
            ((p - q) / (p + q)).max(0.0)
        })
        .collect()
}

/// Without this the comparison could not tell one row from another.
fn assert_telling(rows: &[Rows], loss: &LossConfig, mut score: impl FnMut(&Row) -> Scored) {
    let (mut differing, mut some_speak, mut some_do_not) = (0, false, false);
    let mode = loss.mode;
    for pair in rows {
        let (chosen, rejected) = (score(&pair.chosen), score(&pair.rejected));
        let off = |row: &Scored| (row.under_policy - row.under_reference).abs();
        assert!(
            off(&chosen) > 1e-2 && off(&rejected) > 1e-2,
            "{mode}: the adapter does nothing"
        );
        let Some(negative) = &pair.negative else { continue };
        let negative = score(negative);
        assert!(negative.support < -1e-2, "{mode}: nothing is impossible");
        if loss.has_evidence() {
            let weights = evidence(&chosen, &negative, loss);
            let speak = weights.iter().filter(|&&weight| weight > 0.0).count();
            some_speak |= speak > 0;
            some_do_not |= speak < weights.len();
        }
        let apart = (negative.under_policy - chosen.under_policy).abs();
        differing += usize::from(apart > 1e-3);
    }
    assert_eq!(
        [some_speak, some_do_not],
        [loss.has_evidence(); 2],
        "{mode}: all tokens speak for their product, or none"
    );
    let expected = match mode {
        LossMode::Dpo => 0..=0,
        // The other pair may be the pair itself.
        LossMode::Compat => PAIRS - 2..=PAIRS,
        _ => PAIRS..=PAIRS,
    };
    assert!(
        expected.contains(&differing),
        "{mode}: {differing} negatives differ"
    );
}

#[test]
fn loss_and_gradient_of_both_factors_are_the_closed_form_in_every_mode() {
    let batch = batch();
    let mut own_rows = BTreeMap::new();
    for mode in LossMode::ALL {
        let bench = Bench::new(mode);
        let rows = bench.rows(&batch);
        // Chosen and rejected rows are those of every mode; a masked picture is the mode's own.
        let mut score = |row: &Row| match row.image {
            ProductImage::Masked { .. } => bench.score(row),
            ProductImage::Whole(_) => own_rows
                .entry(row.clone())
                .or_insert_with(|| bench.score(row))
                .clone(),
        };
        assert_telling(&rows, &bench.config.loss, &mut score);
        let (loss, gradient) = closed_form(&rows, &bench.config.loss, &mut score);

        let mut trainer = bench.trainer();
        let collated = trainer.collator.collate(&batch).unwrap();
        let reference = trainer.reference_passes(&collated).unwrap();
        let in_order: Vec<&PairReference> = ORDER.iter().map(|&pair| &reference[pair]).collect();
        let backward = trainer.backward(&batch, &collated, &ORDER, &in_order).unwrap();
        assert!(
            (backward.loss - loss).abs() < 1e-5 * loss,
            "{mode}: {} is not {loss}",
            backward.loss
        );
        assert_close(&by_name(&trainer.policy, &backward.gradients), &gradient, mode);

        // What a step reports is what it followed, and its parts add up to it.
        let metrics = trainer.step(&batch, &collated, &ORDER, &reference).unwrap();
        assert_eq!(metrics.loss(), backward.loss);
        let part = |name: &str| metrics.get(name).unwrap_or(0.0);
        let anchors = 2.0 * part("loss_nll") + 1.7 * part("loss_support");
        let parts = part("loss_dpo") + 1.3 * part("loss_pcpo") + anchors;
        assert!(
            (parts - loss).abs() < 1e-5 * loss,
            "{mode}: {parts} is not {loss}"
        );
    }
}

#[test]
fn a_pair_weighs_by_its_importance_in_loss_and_gradient_alike() {
    let of = |clip: f64, behaviour: Option<f64>| {
        let mut batch = batch();
        for pair in &mut batch.pairs {
            (pair.chosen.behaviour, pair.rejected.behaviour) = (behaviour, behaviour);
        }
        let mut bench = Bench::new(LossMode::JointSwap);
        bench.config.loss.importance_clip = clip;
        let mut trainer = bench.trainer();
        let collated = trainer.collator.collate(&batch).unwrap();
        let reference = trainer.reference_passes(&collated).unwrap();
        let in_order: Vec<&PairReference> = ORDER.iter().map(|&pair| &reference[pair]).collect();
        let backward = trainer.backward(&batch, &collated, &ORDER, &in_order).unwrap();
        let gradient = by_name(&trainer.policy, &backward.gradients);
        let weight = trainer
            .step(&batch, &collated, &ORDER, &reference)
            .unwrap()
            .get("importance_weight");
        (backward.loss, gradient, weight)
    };
    // Far less likely when they were sampled: both ratios are at the clip.
    let unlikely = Some(-1e4);
    let (plain, gradient, weight) = of(0.0, unlikely);
    assert_eq!(weight, None);
    let (weighed, scaled, weight) = of(0.25, unlikely);
    let factor = 0.5f64.exp();
    assert!(
        (weighed - factor * plain).abs() < 1e-5 * plain,
        "{weighed} is not {factor} x {plain}"
    );
    assert!((weight.unwrap() - factor).abs() < 1e-9);
    let expected = gradient.into_iter().map(|(name, values)| {
        let values = values.into_iter().map(|value| value * factor);
        (name, values.collect())
    });
    assert_close(&scaled, &expected.collect(), LossMode::JointSwap);
    // One whose behaviour policy is not known weighs as if there were none.
    assert_eq!(of(0.25, None).0, plain);
}

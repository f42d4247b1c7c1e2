//! Loss and gradient of every mode against closed forms, through the real rows and a network whose adapter is on in both
//! factors.
//!
//! What is expected is made another way: each completion is scored alone, the loss and what it asks of each completion are
//! computed from those numbers in 64 bits, and the gradient is the sum of the rows' own gradients, weighted so.

use super::adapter_gradient::{Gradient, add, assert_close, by_name};
use super::*;
use crate::assortment::Assortment;
use crate::config::{LossMode, Partner};
use crate::mask::Masker;
use crate::negatives::{ProductImage, Seeds, negative};
use crate::task_order::TaskSubject;
use crate::test_outcomes::{pair_of, version};
use crate::test_policy::{assortment, policy};
use burn::tensor::Device;
use common::TaskId;
use models::batch::{CompletionBatch, CompletionRow, collate};
use models::image_features::ImageFeatures;
use models::init;
use models::lora::LoraConfig;
use models::policy::Policy;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAIRS: usize = 6;
const RUN_SEED: u64 = 9;
/// The order in which a step takes the pairs.
const ORDER: [usize; PAIRS] = [4, 0, 2, 5, 1, 3];

/// A completion, the picture and the words it is scored under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    image: ProductImage,
    words: TaskSubject,
    completion: Vec<u32>,
}

/// One pair's rows; the negative is left out in mode `dpo`.
struct Rows {
    chosen: Row,
    rejected: Row,
    negative: Option<Row>,
}

/// What a row comes to alone.
#[derive(Clone)]
struct Scored {
    under_policy: f64,
    under_reference: f64,
    gradient: Gradient,
    /// Of each token: the two log-probabilities and the gradient of the first.
    tokens: Vec<ScoredToken>,
    /// The log-probability under the policy that each of its tokens is possible, and the gradient of that.
    support: f64,
    support_gradient: Gradient,
}

#[derive(Clone)]
struct ScoredToken {
    under_policy: f64,
    under_reference: f64,
    gradient: Gradient,
}

struct Bench {
    policy: Arc<Policy>,
    assortment: Arc<Assortment>,
    config: LearnerConfig,
    adapted: Llava,
}

impl Bench {
    fn new(mode: LossMode) -> Self {
        let config = LearnerConfig {
            minibatch_pairs: PAIRS,
            micro_batches: 2,
            lora: LoraConfig::new(2, 4.0),
            loss: LossConfig {
                beta: 0.7,
                pcpo_beta: 0.3,
                pcpo_weight: 1.3,
                nll_weight: 2.0,
                support_weight: 1.7,
                // About the mean over the vocabulary, so that tokens lie on either side.
                support_threshold: 1.0 / policy().config.text.vocab_size as f64,
                partner: Partner::Uniform,
                ..LossConfig::of(mode)
            },
            ..LearnerConfig::default()
        };
        let policy = Arc::new(policy());
        let model = policy.model.clone().with_adapter(&config.lora, 5).unwrap();
        let noise = model
            .adapter()
            .into_iter()
            .enumerate()
            .map(|(seed, (name, data))| {
                let shape: [usize; 2] = data.shape().dims();
                let noise = init::normal(shape, 0.3, seed as u64, &Device::flex());
                (name, noise.into_data())
            });
        Self {
            adapted: model.load_adapter(&noise.collect()).unwrap(),
            policy,
            assortment: Arc::new(assortment(4)),
            config,
        }
    }

    fn trainer(&self) -> Trainer {
        let loss = self.config.loss.clone();
        let collator = Collator::new(
            self.policy.clone(),
            self.assortment.clone(),
            self.assortment.partners(loss.partner),
            loss,
            RUN_SEED,
            64,
        );
        Trainer::new(self.adapted.clone(), collator, self.config.clone(), RUN_SEED, 2).unwrap()
    }

    /// The rows of every pair as the mode asks for them, made without the collator.
    fn rows(&self, batch: &PairBatch) -> Vec<Rows> {
        let subjects: Vec<(TaskId, TaskSubject)> = (0..PAIRS as u64)
            .map(|task| (TaskId(task), self.assortment.subject(TaskId(task))))
            .collect();
        let partners = self.assortment.partners(Partner::Uniform);
        let seeds = Seeds {
            run: RUN_SEED,
            version: batch.version,
        };
        let chosen = |pair: usize| batch.pairs[pair].chosen.token_ids.clone();
        let rows = |pair: usize| {
            let own = |completion| Row {
                image: ProductImage::Whole(subjects[pair].1.product),
                words: subjects[pair].1,
                completion,
            };
            let negative = negative(self.config.loss.mode, pair, &subjects, &partners, &seeds);
            Rows {
                chosen: own(chosen(pair)),
                rejected: own(batch.pairs[pair].rejected.token_ids.clone()),
                negative: negative.map(|negative| Row {
                    image: negative.image,
                    words: negative.words,
                    completion: chosen(negative.completion_of),
                }),
            }
        };
        (0..PAIRS).map(rows).collect()
    }

    fn score(&self, row: &Row) -> Scored {
        let (batch, features) = self.alone(row);
        let logits = |model: &Llava| model.completion_logits(&batch, Some(&features));
        let sum = |model: &Llava| logits(model).log_probs().sums();
        let possible = logits(&self.policy.model).supports(0..1, self.config.loss.support_threshold);
        let mass = |model: &Llava| logits(model).log_mass(0..1, &[&possible[0]]);
        let training = self.adapted.clone().trainable_adapter_only().train();
        let gradient = |of: &(dyn Fn(&Llava) -> Tensor<1> + Sync)| {
            let (gradients, _) =
                gradients::accumulate(&training, vec![()], 1, |model, ()| (of(model), ())).unwrap();
            by_name(&training, &gradients)
        };
        let token = |at: usize| {
            let one = |model: &Llava| {
                let table = logits(model).log_probs().token_log_probs;
                table.narrow(1, at, 1).squeeze_dim::<1>(1)
            };
            ScoredToken {
                under_policy: one(&self.adapted).into_scalar::<f64>(),
                under_reference: one(&self.policy.model).into_scalar::<f64>(),
                gradient: gradient(&one),
            }
        };
        Scored {
            tokens: (0..row.completion.len()).map(token).collect(),
            under_policy: sum(&self.adapted).into_scalar::<f64>(),
            under_reference: sum(&self.policy.model).into_scalar::<f64>(),
            gradient: gradient(&sum),
            support: mass(&self.adapted).into_scalar::<f64>(),
            support_gradient: gradient(&mass),
        }
    }

    fn alone(&self, row: &Row) -> (CompletionBatch, ImageFeatures) {
        let vision = &self.policy.config.vision;
        let picture = match row.image {
            ProductImage::Whole(product) => self.assortment.product(product).image.clone(),
            ProductImage::Masked { product, seed } => {
                Masker::new(&self.config.loss, vision).masked(&self.assortment.product(product).image, seed)
            }
        };
        let instruction = self.assortment.instruction(row.words);
        let prompt = self.policy.prompt_ids(&instruction, true).unwrap();
        let row = CompletionRow {
            prompt_ids: &prompt,
            image: Some(0),
            completion_ids: &row.completion,
        };
        let features = self.policy.image_features(&[&picture]).unwrap();
        let batch = collate(&[row], features.lengths(), &self.policy.config.row_limits()).unwrap();
        (batch, features)
    }
}

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

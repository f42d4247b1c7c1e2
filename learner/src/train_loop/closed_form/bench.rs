//! The rows of pairs, made without the collator, and what each comes to alone.

use super::{PAIRS, RUN_SEED};
use crate::assortment::Assortment;
use crate::collate::Collator;
use crate::config::{LearnerConfig, LossConfig, LossMode, Partner};
use crate::mask::Masker;
use crate::negatives::{ProductImage, Seeds, negative};
use crate::task_order::TaskSubject;
use crate::test_policy::{assortment, policy};
use crate::train_loop::Trainer;
use crate::train_loop::adapter_gradient::{Gradient, by_name};
use crate::training_pair::PairBatch;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use common::TaskId;
use models::batch::{CompletionBatch, CompletionRow, collate};
use models::gradients;
use models::image_features::ImageFeatures;
use models::init;
use models::llava::Llava;
use models::lora::LoraConfig;
use models::policy::Policy;
use std::sync::Arc;

/// A completion, the picture and the words it is scored under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) image: ProductImage,
    pub(super) words: TaskSubject,
    pub(super) completion: Vec<u32>,
}

/// One pair's rows; the negative is left out in mode `dpo`.
pub(super) struct Rows {
    pub(super) chosen: Row,
    pub(super) rejected: Row,
    pub(super) negative: Option<Row>,
}

/// What a row comes to alone.
#[derive(Clone)]
pub(super) struct Scored {
    pub(super) under_policy: f64,
    pub(super) under_reference: f64,
    pub(super) gradient: Gradient,
    /// Of each token: the two log-probabilities and the gradient of the first.
    pub(super) tokens: Vec<ScoredToken>,
    /// The log-probability under the policy that each of its tokens is possible, and the gradient of that.
    pub(super) support: f64,
    pub(super) support_gradient: Gradient,
}

#[derive(Clone)]
pub(super) struct ScoredToken {
    pub(super) under_policy: f64,
    pub(super) under_reference: f64,
    pub(super) gradient: Gradient,
}

pub(super) struct Bench {
    pub(super) policy: Arc<Policy>,
    pub(super) assortment: Arc<Assortment>,
    pub(super) config: LearnerConfig,
    pub(super) adapted: Llava,
}

impl Bench {
    pub(super) fn new(mode: LossMode) -> Self {
        let config = LearnerConfig {
            minibatch_pairs: PAIRS,
            micro_batches: 2,
            lora: LoraConfig::new(2, 4.0).with_head(),
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

    pub(super) fn trainer(&self) -> Trainer {
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
    pub(super) fn rows(&self, batch: &PairBatch) -> Vec<Rows> {
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

    pub(super) fn score(&self, row: &Row) -> Scored {
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

    pub(super) fn alone(&self, row: &Row) -> (CompletionBatch, ImageFeatures) {
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

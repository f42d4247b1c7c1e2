//! Pairs to rows of tokens and image features: everything the loss needs, before any log-probability is computed.
//!
//! The actor and the learner render prompts with the same template and encode images with the same frozen tower, both read
//! from the policy's directory; here is the learner's side of that.

use crate::assortment::Assortment;
use crate::config::LossConfig;
use crate::error::LearnerError;
use crate::feature_cache::FeatureCache;
use crate::mask::Masker;
use crate::negatives::{Negative, ProductImage, Seeds, negative};
use crate::partners::Partners;
use crate::task_order::TaskSubject;
use crate::training_pair::PairBatch;
use common::TaskId;
use models::ModelError;
use models::batch::{CompletionBatch, CompletionRow, RowLimits};
use models::image_features::ImageFeatures;
use models::policy::Policy;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Turns batches of pairs into rows.
pub(crate) struct Collator {
    policy: Arc<Policy>,
    assortment: Arc<Assortment>,
    partners: Partners,
    loss: LossConfig,
    run_seed: u64,
    features: FeatureCache,
}

/// The pairs of one version as rows, in the order of the batch.
pub(crate) struct TrainingBatch {
    pairs: Vec<PairRows>,
    /// Features of every image that a row shows.
    features: ImageFeatures,
    limits: RowLimits,
}

/// The rows of one pair.
struct PairRows {
    chosen: Row,
    rejected: Row,
    negative: Option<Row>,
}

/// A completion under its prompt.
struct Row {
    prompt_ids: Arc<[u32]>,
    /// Row of the batch's features.
    image: usize,
    completion_ids: Arc<[u32]>,
}

/// Some pairs of a batch, laid out for one forward pass: all chosen rows, all rejected ones, then all negatives.
pub(crate) struct PairMicroBatch {
    /// The rows.
    pub(crate) rows: CompletionBatch,
    /// Features of the images they show.
    pub(crate) features: ImageFeatures,
    /// How many pairs there are.
    pub(crate) pairs: usize,
    /// Whether each has a negative.
    pub(crate) has_negatives: bool,
}

impl Collator {
    /// A collator for the frozen parts of `policy`. `partners` must have one for every product if the mode needs one.
    pub(crate) fn new(
        policy: Arc<Policy>,
        assortment: Arc<Assortment>,
        partners: Partners,
        loss: LossConfig,
        run_seed: u64,
        feature_cache_bytes: usize,
    ) -> Self {
        let masker = Masker::new(&loss, &policy.config.vision);
        let features = FeatureCache::new(policy.clone(), assortment.clone(), masker, feature_cache_bytes);
        Self {
            policy,
            assortment,
            partners,
            loss,
            run_seed,
            features,
        }
    }

    /// The same with the features of each image computed alone, which a deterministic run needs.
    pub(crate) fn with_images_one_by_one(self) -> Self {
        Self {
            features: self.features.one_by_one(),
            ..self
        }
    }

    /// The rows of a batch.
    ///
    /// # Errors
    /// [`LearnerError::Model`] when the tokenizer or the vision tower fails.
    pub(crate) fn collate(&mut self, batch: &PairBatch) -> Result<TrainingBatch, LearnerError> {
        let subjects: Vec<(TaskId, TaskSubject)> = batch
            .pairs
            .iter()
            .map(|pair| (pair.task, self.assortment.subject(pair.task)))
            .collect();
        let seeds = Seeds {
            run: self.run_seed,
            version: batch.version,
        };
        let mut images = ImageIndex::default();
        let mut prompts = BTreeMap::new();
        let mut pairs = Vec::with_capacity(batch.pairs.len());
        for (index, pair) in batch.pairs.iter().enumerate() {
            let own = subjects[index].1;
            let prompt = self.prompt(own, &mut prompts)?;
            let image = images.place(ProductImage::Whole(own.product));
            let row = |completion: &[u32]| Row {
                prompt_ids: prompt.clone(),
                image,
                completion_ids: completion.into(),
            };
            let negative = match self.negative(index, &subjects, &seeds) {
                None => None,
                Some(negative) => Some(Row {
                    prompt_ids: self.prompt(negative.words, &mut prompts)?,
                    image: images.place(negative.image),
                    completion_ids: batch.pairs[negative.completion_of].chosen.token_ids[..].into(),
                }),
            };
            pairs.push(PairRows {
                chosen: row(&pair.chosen.token_ids),
                rejected: row(&pair.rejected.token_ids),
                negative,
            });
        }
        let features = self.features.of(&images.order)?;
        Ok(TrainingBatch {
            pairs,
            features,
            limits: self.policy.config.row_limits(),
        })
    }

    fn negative(&self, pair: usize, subjects: &[(TaskId, TaskSubject)], seeds: &Seeds) -> Option<Negative> {
        self.loss
            .has_negatives()
            .then(|| negative(self.loss.mode, pair, subjects, &self.partners, seeds))
            .flatten()
    }

    /// Ids of a subject's prompt, each made once a batch.
    fn prompt(
        &self,
        subject: TaskSubject,
        made: &mut BTreeMap<TaskSubject, Arc<[u32]>>,
    ) -> Result<Arc<[u32]>, ModelError> {
        if let Some(ids) = made.get(&subject) {
            return Ok(ids.clone());
        }
        let ids: Arc<[u32]> = self
            .policy
            .prompt_ids(&self.assortment.instruction(subject), true)?
            .into();
        made.insert(subject, ids.clone());
        Ok(ids)
    }
}

impl TrainingBatch {
    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The rows of some of its pairs, given by their positions (at least one).
    ///
    /// # Errors
    /// [`ModelError::Row`] when a prompt and its completion are longer than the model's context.
    pub(crate) fn micro_batch(&self, pairs: &[usize]) -> Result<PairMicroBatch, ModelError> {
        let pick =
            |of: fn(&PairRows) -> Option<&Row>| pairs.iter().filter_map(move |&pair| of(&self.pairs[pair]));
        let chosen = pick(|pair| Some(&pair.chosen));
        let rejected = pick(|pair| Some(&pair.rejected));
        let negatives = pick(|pair| pair.negative.as_ref());
        let rows: Vec<&Row> = chosen.chain(rejected).chain(negatives).collect();
        let mut images = ImageIndex::default();
        let rows: Vec<CompletionRow<'_>> = rows
            .iter()
            .map(|row| CompletionRow {
                prompt_ids: &row.prompt_ids,
                image: Some(images.place(row.image)),
                completion_ids: &row.completion_ids,
            })
            .collect();
        let has_negatives = rows.len() == 3 * pairs.len();
        let features = self.features.select(&images.order);
        Ok(PairMicroBatch {
            rows: models::batch::collate(&rows, features.lengths(), &self.limits)?,
            features,
            pairs: pairs.len(),
            has_negatives,
        })
    }
}

impl PairMicroBatch {
    /// Where the chosen completions stand among the rows.
    pub(crate) fn chosen(&self) -> Range<usize> {
        0..self.pairs
    }

    /// Where the rejected ones stand.
    pub(crate) fn rejected(&self) -> Range<usize> {
        self.pairs..2 * self.pairs
    }

    /// Where the negatives stand.
    pub(crate) fn negatives(&self) -> Range<usize> {
        2 * self.pairs..self.rows.rows()
    }
}

/// Distinct images in the order they first came up.
struct ImageIndex<K> {
    order: Vec<K>,
    places: BTreeMap<K, usize>,
}

impl<K> Default for ImageIndex<K> {
    fn default() -> Self {
        Self {
            order: vec![],
            places: BTreeMap::new(),
        }
    }
}

impl<K: Copy + Ord> ImageIndex<K> {
    fn place(&mut self, image: K) -> usize {
        *self.places.entry(image).or_insert_with(|| {
            self.order.push(image);
            self.order.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LossMode, Partner};
    use crate::test_outcomes::{pair_of, version};
    use crate::test_policy::{assortment, policy};

    fn collate(mode: LossMode, pcpo_weight: f64) -> (TrainingBatch, Arc<Policy>) {
        let (policy, assortment) = (Arc::new(policy()), Arc::new(assortment(4)));
        let partners = assortment.partners(Partner::Uniform);
        let loss = LossConfig {
            mode,
            pcpo_weight,
            ..LossConfig::default()
        };
        let mut collator = Collator::new(policy.clone(), assortment, partners, loss, 3, 64);
        (collator.collate(&batch()).unwrap(), policy)
    }

    fn batch() -> PairBatch {
        let pair = |task: u32| (&pair_of(u64::from(task), 0, [&[20, 2], &[30 + task, 31, 2]])).into();
        PairBatch {
            version: version(0),
            pairs: (0..6).map(pair).collect(),
            sampled: None,
        }
    }

    #[test]
    fn a_micro_batch_has_three_rows_a_pair_and_two_without_a_negative() {
        for (mode, weight, rows) in [
            (LossMode::JointSwap, 1.0, 9),
            (LossMode::JointSwap, 0.0, 6),
            (LossMode::Dpo, 1.0, 6),
        ] {
            let micro_batch = collate(mode, weight).0.micro_batch(&[4, 0, 2]).unwrap();
            assert_eq!((micro_batch.rows.rows(), micro_batch.pairs), (rows, 3));
            assert_eq!(micro_batch.has_negatives, rows == 9);
        }
    }

    #[test]
    fn rows_read_the_prompt_and_the_picture_they_should_in_every_mode() {
        let assortment = assortment(4);
        let partners = assortment.partners(Partner::Uniform);
        let subjects: Vec<_> = (0..6)
            .map(|task| (TaskId(task), assortment.subject(TaskId(task))))
            .collect();
        let seeds = Seeds {
            run: 3,
            version: version(0),
        };
        for mode in LossMode::ALL {
            let (collated, policy) = collate(mode, 1.0);
            let assert_row = |row: &Row, words: TaskSubject, image: ProductImage, completion: &[u32]| {
                let prompt = policy.prompt_ids(&assortment.instruction(words), true).unwrap();
                assert_eq!(
                    (&row.prompt_ids[..], &row.completion_ids[..]),
                    (&prompt[..], completion)
                );
                let whole = |product: usize| &assortment.product(product).image;
                let picture = match image {
                    ProductImage::Whole(product) => whole(product).clone(),
                    ProductImage::Masked { product, seed } => {
                        Masker::new(&LossConfig::of(mode), &policy.config.vision).masked(whole(product), seed)
                    }
                };
                let expected = policy.image_features(&[&picture]).unwrap().tokens().into_data();
                let seen = collated.features.select(&[row.image]).tokens().into_data();
                seen.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::absolute(1e-5));
            };
            let chosen = |pair: usize| [30 + pair as u32, 31, 2];
            for (pair, rows) in collated.pairs.iter().enumerate() {
                let own = subjects[pair].1;
                let whole = ProductImage::Whole(own.product);
                assert_row(&rows.chosen, own, whole, &chosen(pair));
                assert_row(&rows.rejected, own, whole, &[20, 2]);
                match negative(mode, pair, &subjects, &partners, &seeds) {
                    None => assert!(rows.negative.is_none()),
                    Some(expected) => assert_row(
                        rows.negative.as_ref().unwrap(),
                        expected.words,
                        expected.image,
                        &chosen(expected.completion_of),
                    ),
                }
            }
        }
    }

    #[test]
    fn masked_images_have_features_of_their_own() {
        let plain = collate(LossMode::JointSwap, 1.0).0.features.lengths().len();
        let masked = collate(LossMode::MaskOnly, 1.0).0.features.lengths().len();
        assert_eq!((plain, masked), (4, 4 + 6));
    }
}

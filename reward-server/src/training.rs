//! Stage B: a reward model from a click log.
//!
//! The log's training products are divided once more: most train the network, a few calibrate it. Test products are
//! never looked at; measuring is in [`crate::evaluation`].

mod batches;
mod losses;

use crate::calibration::{self, ScoredProduct};
use crate::config::RewardConfig;
use crate::dataset::LoggedProduct;
use crate::error::RewardError;
use crate::forward::raw_scores;
use batches::{MicroBatch, epoch_batches};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use common::SettingsCheck;
use data::ClickLog;
use models::ctr::{Calibration, CtrForm, CtrNetwork, RewardModel};
use models::gradients::{accumulate, clip_global_norm};
use models::init::stream_seed;
use models::optimizer::{AdamW, AdamWConfig, Schedule};
use models::processor::ImageProcessor;
use models::tokenizer::{SpecialTokens, Tokenizer};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

/// Creatives or pairs in one pass while calibrating.
const CALIBRATION_BATCH: usize = 256;

/// Where training stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardProgress {
    /// Steps taken.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The last step's pairwise loss, the mean of its labels weighted by their worth.
    pub pair_loss: f64,
    /// The last step's second loss: nats per click (siamese) or squared error of a rate (concat).
    pub point_loss: f64,
}

/// Trains a reward model on the training products of `log`; the result depends on configuration, log and `seed`, not on
/// `threads`. `progress` is told every step.
///
/// # Errors
/// [`RewardError::Config`], [`RewardError::NoPairs`] for a log without labels, [`RewardError::NotFinite`] when training
/// diverges, [`RewardError::Cancelled`] once `cancel` is cancelled, [`RewardError::Model`] when a pass fails.
pub fn train(
    config: &RewardConfig,
    log: &dyn ClickLog,
    seed: u64,
    device: &Device,
    threads: usize,
    progress: &mut dyn FnMut(RewardProgress),
    cancel: &CancellationToken,
) -> Result<RewardModel, RewardError> {
    config.validate()?;
    let mut model = untrained(config, log, seed, device)?;
    let products = LoggedProduct::read(log, log.split().train, config.min_impressions, &model)?;
    let part = Partition::new(products, config, seed)?;
    let run = Run {
        config,
        products: &part.training,
        seed,
        threads,
        blank: model.text_ids("")?,
        cancel,
    };
    model.network = match model.network {
        CtrNetwork::Siamese(network) => {
            CtrNetwork::Siamese(run.fit(network, progress, |network, batch| {
                losses::siamese(network, batch, config)
            })?)
        }
        CtrNetwork::Concat(network) => CtrNetwork::Concat(run.fit(network, progress, |network, batch| {
            losses::concat(network, batch, config)
        })?),
    };
    model.calibration = calibrate(&model, part.calibration());
    Ok(model)
}

/// A fresh network with a tokenizer for the captions of the training products.
fn untrained(
    config: &RewardConfig,
    log: &dyn ClickLog,
    seed: u64,
    device: &Device,
) -> Result<RewardModel, RewardError> {
    let captions = log.products()[log.split().train]
        .iter()
        .map(|product| product.caption.as_str());
    let corpus = captions.chain([models::ctr::QUESTION]);
    let corpus: Vec<&str> = corpus.collect();
    let tokenizer = Tokenizer::train(corpus.into_iter(), config.vocab_size, SpecialTokens::default())?;
    check_question(config, &tokenizer)?;
    let shape = config.network(tokenizer.vocab_size());
    shape.check()?;
    Ok(RewardModel {
        network: shape.init(device, stream_seed(seed, "network")),
        processor: ImageProcessor::clip(config.image_size),
        config: shape,
        tokenizer,
        calibration: Calibration::default(),
    })
}

/// The concat form reads its answer at the end of the question, so the question must fit behind the begin token.
fn check_question(config: &RewardConfig, tokenizer: &Tokenizer) -> Result<(), RewardError> {
    let mut check = SettingsCheck::default();
    let needed = 1 + tokenizer.encode(models::ctr::QUESTION)?.len();
    check.require(
        config.form == CtrForm::Siamese || config.max_text_tokens >= needed,
        "reward.max_text_tokens",
        config.max_text_tokens,
        format_args!("{needed} or more: the question takes them all with this vocabulary"),
    );
    Ok(check.finish()?)
}

/// The training products in two parts.
struct Partition {
    training: Vec<LoggedProduct>,
    validation: Vec<LoggedProduct>,
}

impl Partition {
    fn new(mut products: Vec<LoggedProduct>, config: &RewardConfig, seed: u64) -> Result<Self, RewardError> {
        if products.iter().all(|product| product.pairs.is_empty()) {
            return Err(RewardError::NoPairs {
                part: "training",
                min_impressions: config.min_impressions,
            });
        }
        products.shuffle(&mut ChaCha8Rng::seed_from_u64(stream_seed(seed, "validation")));
        let kept_back = (products.len() as f64 * config.validation_share).round() as usize;
        let validation = products.split_off((products.len() - kept_back).max(1));
        Ok(Self {
            training: products,
            validation,
        })
    }

    /// The products to calibrate on. A log too small to keep any back is calibrated on what it was trained on, which
    /// makes probabilities too certain.
    fn calibration(&self) -> &[LoggedProduct] {
        if self.validation.iter().any(|product| !product.pairs.is_empty()) {
            return &self.validation;
        }
        tracing::warn!(
            products = self.training.len(),
            "reward model calibrated on its training products"
        );
        &self.training
    }
}

fn calibrate(model: &RewardModel, products: &[LoggedProduct]) -> Calibration {
    let inputs: Vec<_> = products.iter().map(|product| &product.input).collect();
    let scored = raw_scores(model, &inputs, CALIBRATION_BATCH)
        .into_iter()
        .zip(products);
    let scored = scored.map(|(raw, product)| ScoredProduct {
        margins: product
            .pairs
            .iter()
            .map(|pair| raw.margins.margin(pair.higher, pair.lower))
            .collect(),
        scores: raw.scores,
        counts: product.counts.clone(),
    });
    calibration::fit(&scored.collect::<Vec<_>>())
}

/// What every step needs.
struct Run<'a> {
    config: &'a RewardConfig,
    products: &'a [LoggedProduct],
    seed: u64,
    threads: usize,
    /// The text of a product whose caption is withheld.
    blank: Vec<u32>,
    cancel: &'a CancellationToken,
}

impl Run<'_> {
    fn fit<M: Module + Sync>(
        &self,
        network: M,
        progress: &mut dyn FnMut(RewardProgress),
        loss: impl Fn(&M, MicroBatch) -> (Tensor<1>, LossParts) + Sync,
    ) -> Result<M, RewardError> {
        let config = self.config;
        let steps = config.epochs * self.products.len().div_ceil(config.products_per_batch);
        let mut optimizer = AdamW::new(AdamWConfig {
            learning_rate: config.learning_rate,
            weight_decay: config.weight_decay,
            schedule: Schedule::Cosine,
            warmup_steps: config.warmup_steps.min(steps as u64 - 1),
            total_steps: steps as u64,
            ..AdamWConfig::default()
        })?;
        let mut network = network.train();
        for epoch in 0..config.epochs {
            for batch in epoch_batches(
                self.products,
                &self.blank,
                config,
                stream_seed(self.seed, &format!("epoch.{epoch}")),
            ) {
                if self.cancel.is_cancelled() {
                    return Err(RewardError::Cancelled);
                }
                let step = optimizer.steps() as usize + 1;
                let (mut gradients, parts) = accumulate(&network, batch, self.threads, &loss)?;
                let norm = clip_global_norm(&network, &mut gradients, config.max_grad_norm);
                let parts = LossParts::sum(&parts);
                parts.check_finite(step, norm)?;
                network = optimizer.step(network, gradients);
                let LossParts {
                    pair: pair_loss,
                    point: point_loss,
                } = parts;
                progress(RewardProgress {
                    step,
                    steps,
                    pair_loss,
                    point_loss,
                });
            }
        }
        Ok(network.valid())
    }
}

/// A micro-batch's share of both losses, unweighted.
#[derive(Debug, Clone, Copy)]
struct LossParts {
    pair: f64,
    point: f64,
}

impl LossParts {
    fn sum(parts: &[Self]) -> Self {
        let of = |part: fn(&Self) -> f64| parts.iter().map(part).sum();
        Self {
            pair: of(|part| part.pair),
            point: of(|part| part.point),
        }
    }

    fn check_finite(&self, step: usize, norm: f64) -> Result<(), RewardError> {
        let numbers = [
            ("pairwise loss", self.pair),
            ("second loss", self.point),
            ("gradient norm", norm),
        ];
        match numbers.into_iter().find(|(_, value)| !value.is_finite()) {
            Some((quantity, value)) => Err(RewardError::NotFinite {
                step,
                quantity,
                value,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::evaluate;
    use crate::toy_log::{ToyLog, config};
    use models::ctr::CtrForm;
    use models::device::parse_device;

    fn train_on(log: &ToyLog, config: &RewardConfig, threads: usize) -> Result<RewardModel, RewardError> {
        let device = parse_device("cpu").unwrap();
        train(
            config,
            log,
            5,
            &device,
            threads,
            &mut |_| {},
            &CancellationToken::new(),
        )
    }

    #[test]
    fn both_forms_learn_that_bright_pictures_are_clicked() {
        let log = ToyLog::new(24);
        for form in [CtrForm::Siamese, CtrForm::Concat] {
            let epochs = if form == CtrForm::Concat { 40 } else { 8 };
            let model = train_on(
                &log,
                &RewardConfig {
                    epochs,
                    ..config(form)
                },
                1,
            )
            .unwrap();
            let report = evaluate(&model, &log, 1000, 7).unwrap();
            assert!(report.pair_accuracy > 0.9, "{form}: {report:?}");
        }
    }

    #[test]
    fn the_number_of_threads_never_changes_the_model() {
        let config = RewardConfig {
            epochs: 2,
            ..config(CtrForm::Siamese)
        };
        let digest = |threads| {
            train_on(&ToyLog::new(12), &config, threads)
                .unwrap()
                .digest()
                .unwrap()
        };
        assert_eq!(digest(1), digest(2));
    }

    #[test]
    fn progress_counts_every_step() {
        let (mut seen, config) = (
            vec![],
            RewardConfig {
                epochs: 3,
                ..config(CtrForm::Siamese)
            },
        );
        let device = parse_device("cpu").unwrap();
        let mut progress = |progress: RewardProgress| seen.push((progress.step, progress.steps));
        train(
            &config,
            &ToyLog::new(12),
            5,
            &device,
            1,
            &mut progress,
            &CancellationToken::new(),
        )
        .unwrap();
        // 9 training products, one kept back: two batches of four in each epoch.
        assert_eq!(seen, (1..=6).map(|step| (step, 6)).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_without_labels_and_a_cancelled_run_are_typed_errors() {
        let equal = ToyLog::new(12).with_clicks(|creative| creative.impressions / 50);
        let error = train_on(&equal, &config(CtrForm::Siamese), 1).unwrap_err();
        assert!(
            matches!(error, RewardError::NoPairs { part: "training", .. }),
            "{error}"
        );
        let cancel = CancellationToken::new();
        cancel.cancel();
        let device = parse_device("cpu").unwrap();
        let stopped = train(
            &config(CtrForm::Siamese),
            &ToyLog::new(12),
            5,
            &device,
            1,
            &mut |_| {},
            &cancel,
        );
        assert!(matches!(stopped, Err(RewardError::Cancelled)));
    }

    #[test]
    fn a_log_too_small_to_keep_products_back_is_calibrated_on_what_there_is() {
        let config = RewardConfig {
            epochs: 4,
            ..config(CtrForm::Siamese)
        };
        let model = train_on(&ToyLog::new(4), &config, 1).unwrap();
        assert_ne!(model.calibration, Calibration::default());
    }
}

//! Stage B: a reward model from a click log.
//!
//! Here from nothing, of a loaded model in `training/loaded.rs`. Measuring one is in [`crate::evaluation`].

mod batches;
mod fit;
mod loaded;
mod losses;
mod products;

pub use fit::RewardProgress;
pub use loaded::{LoadedTraining, train_loaded};
pub(crate) use products::{TrainingProduct, read};

use crate::calibration::{self, ScoredProduct};
use crate::config::RewardConfig;
use crate::dataset::LoggedProduct;
use crate::error::RewardError;
use crate::forward::raw_scores;
use burn::tensor::Device;
use common::SettingsCheck;
use data::ClickLog;
use fit::{Run, gradients};
use models::ctr::{Calibration, CtrForm, CtrNetwork, RewardModel};
use models::init::stream_seed;
use models::processor::ImageProcessor;
use models::tokenizer::{SpecialTokens, Tokenizer};
use products::Partition;
use tokio_util::sync::CancellationToken;

/// Creatives or pairs in one pass while calibrating.
const CALIBRATION_BATCH: usize = 256;

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
    let part = Partition::of(log, config, seed)?;
    let read = |products: &[LoggedProduct]| {
        let pixels =
            |creative: usize| RewardModel::pixels(&model.processor, &log.creatives()[creative].image);
        read(log, products, |caption| model.text_ids(caption), pixels)
    };
    let (training, calibration) = (read(&part.training)?, read(part.calibration())?);
    let run = Run {
        config,
        products: &training,
        seed,
        threads,
        blank: model.text_ids("")?,
        cancel,
    };
    model.network = match model.network {
        CtrNetwork::Siamese(network) => {
            CtrNetwork::Siamese(run.fit(network, progress, |network, batch| {
                gradients(network, losses::siamese(network, batch, config))
            })?)
        }
        CtrNetwork::Concat(network) => CtrNetwork::Concat(run.fit(network, progress, |network, batch| {
            gradients(network, losses::concat(network, batch, config))
        })?),
    };
    model.calibration = calibrate(&model, &calibration);
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

fn calibrate(model: &RewardModel, products: &[TrainingProduct]) -> Calibration {
    let inputs: Vec<_> = products.iter().map(|product| product.input.view()).collect();
    let scored = raw_scores(model, &inputs, CALIBRATION_BATCH)
        .into_iter()
        .zip(products);
    let scored = scored.map(|(raw, product)| ScoredProduct::new(raw, &product.counts, &product.pairs));
    calibration::fit(&scored.collect::<Vec<_>>())
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
            let report = evaluate(&model, &log, 1000, 256, 7).unwrap();
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

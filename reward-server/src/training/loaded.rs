//! Stage B of a loaded model: an adapter beside the body of CAIG's network and its two heads, on pictures of two creatives.
//!
//! What it is asked is what it will be asked when it is served. A few products are kept back to find out what its margins mean: the
//! softmax of two logits that were trained is more certain than it is right.

use super::fit::{RewardProgress, Run};
use super::losses;
use super::products::{Partition, read};
use crate::calibration::{self, ScoredProduct};
use crate::config::RewardConfig;
use crate::dataset::LoggedProduct;
use crate::error::RewardError;
use crate::evaluation::scored;
use crate::questions::check_questions;
use crate::served::ServedCaig;
use data::ClickLog;
use image::{RgbImage, buffer::ConvertBuffer as _};
use models::ctr::{CaigReward, Calibration, PairRows};
use models::init::stream_seed;
use tokio_util::sync::CancellationToken;

/// What a loaded model is trained with.
pub struct LoadedTraining<'a> {
    /// Settings. Those of the network's shape and `dropout` and `pixel_noise` do not count here.
    pub config: &'a RewardConfig,
    /// The model it begins with.
    pub model: CaigReward,
    /// What it is asked; `{caption}` stands for the caption.
    pub question: &'a str,
    /// Its training products are trained on.
    pub log: &'a dyn ClickLog,
    /// Of every draw.
    pub seed: u64,
    /// Passes at a time; the result does not depend on it.
    pub threads: usize,
}

/// Products whose pictures are held at a time, and pairs in one pass, while calibrating.
const CALIBRATION_BATCH: usize = 8;

/// Trains an adapter and the heads, and calibrates what comes out. Returns the model with the adapter still beside its body. `progress` is
/// told every step.
///
/// # Errors
/// As [`train`](super::train); before the first step [`RewardError::Question`] or [`RewardError::Rows`] when questions about
/// products are too long.
pub fn train_loaded(
    plan: LoadedTraining<'_>,
    progress: &mut dyn FnMut(RewardProgress),
    cancel: &CancellationToken,
) -> Result<CaigReward, RewardError> {
    let LoadedTraining {
        config,
        model,
        question,
        log,
        seed,
        threads,
    } = plan;
    config.validate()?;
    check_questions(&model, question, log.products().iter().enumerate(), log.places())?;
    let part = Partition::of(log, config, seed)?;
    let prompt = |caption: &str| model.prompt_ids(&CaigReward::question_about(question, caption));
    let run = Run {
        config,
        products: &read(log, &part.training, prompt, |place| place)?,
        seed,
        threads,
        blank: prompt("")?,
        cancel,
    };
    let lay_out = |pairs: &[(&usize, &usize)], prompts: &[&[u32]]| -> PairRows {
        let square = |place: &usize| square(&model, &log.creatives()[*place].image);
        let squares: Vec<_> = pairs
            .iter()
            .map(|(left, right)| (square(left), square(right)))
            .collect();
        let squares: Vec<_> = squares.iter().map(|(left, right)| (left, right)).collect();
        model
            .lay_out(&squares, prompts)
            .expect("every question was found to fit")
    };
    let network = model
        .network()
        .trainable(&config.lora, stream_seed(seed, "adapter"))?;
    let network = run.fit(network, progress, |network, batch| {
        let network = network.with_adapter_dropout(config.lora.dropout, batch.seed);
        losses::caig(&network, &batch, lay_out, config)
    })?;
    let mut model = model.with_network(network);
    // As it is served, but for what it had before.
    model.calibration = Calibration::default();
    let served = ServedCaig::new(model.clone(), question.to_owned());
    model.calibration = calibrate(&served, log, part.calibration(), cancel)?;
    Ok(model)
}

fn calibrate(
    model: &ServedCaig,
    log: &dyn ClickLog,
    products: &[LoggedProduct],
    cancel: &CancellationToken,
) -> Result<Calibration, RewardError> {
    let mut all = vec![];
    for some in products.chunks(CALIBRATION_BATCH) {
        if cancel.is_cancelled() {
            return Err(RewardError::Cancelled);
        }
        let some: Vec<&LoggedProduct> = some.iter().collect();
        let raw = scored(model, log, &some, CALIBRATION_BATCH, false)?;
        let of_product =
            |(raw, product): (_, &LoggedProduct)| ScoredProduct::new(raw, &product.counts, &product.pairs);
        all.extend(raw.into_iter().zip(some).map(of_product));
    }
    Ok(calibration::fit(&all))
}

fn square(model: &CaigReward, creative: &RgbImage) -> RgbImage {
    CaigReward::square(model.processor(), &creative.convert())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::evaluate;
    use crate::toy_log::{self, ToyLog};
    use models::ctr::CtrForm;
    use models::device::Placement;
    use models::lora::LoraConfig;
    use std::path::Path;

    const QUESTION: &str = "Which {caption}?";

    /// A model of the parity fixtures.
    fn base(directory: &str) -> CaigReward {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/fixtures");
        CaigReward::load_base(&fixtures.join(directory), &Placement::cpu(), 3, &mut |_, _| ()).unwrap()
    }

    fn config(epochs: usize) -> RewardConfig {
        RewardConfig {
            epochs,
            learning_rate: 1e-2,
            point_weight: 0.5,
            lora: LoraConfig::new(4, 8.0),
            activation_checkpointing: true,
            ..toy_log::config(CtrForm::Siamese)
        }
    }

    fn train(directory: &str, log: &ToyLog, config: &RewardConfig, threads: usize) -> CaigReward {
        let plan = LoadedTraining {
            config,
            model: base(directory),
            question: QUESTION,
            log,
            seed: 5,
            threads,
        };
        train_loaded(plan, &mut |_| (), &CancellationToken::new()).unwrap()
    }

    fn calibrated_as(model: &CaigReward, calibration: Calibration) -> CaigReward {
        let mut model = model.clone();
        model.calibration = calibration;
        model
    }

    fn accuracy(model: CaigReward, log: &ToyLog) -> f64 {
        let served = ServedCaig::new(model, QUESTION.into());
        evaluate(&served, log, 1000, 8, 7).unwrap().pair_accuracy
    }

    #[test]
    fn the_body_of_a_policy_learns_that_bright_pictures_are_clicked_and_reads_back_the_same() {
        let log = ToyLog::new(8);
        let model = train("llava-hf-1.5/1", &log, &config(10), 2);
        let folder = tempfile::tempdir().unwrap();
        model.clone().save(folder.path(), &mut |_, _| ()).unwrap();
        let placement = Placement::cpu();
        let read =
            CaigReward::load(folder.path(), &placement.device, placement.dtype, &mut |_, _| ()).unwrap();
        let answer = |model: &CaigReward| {
            let [dark, bright] = [40, 220].map(|shade| toy_log::flat(shade).convert());
            model.compare(&dark, &bright, "Which red chair?").unwrap()
        };
        let (trained, again) = (answer(&model), answer(&read));
        for (a, b) in trained.logits.iter().zip(again.logits) {
            assert!((a - b).abs() < 1e-3, "{trained:?} {again:?}");
        }
        assert!(again.ctr.is_some());
        assert_eq!(model.calibration, read.calibration);
        assert_ne!(read.calibration, Calibration::default());
        // It is another model than one that is as sure of itself as its logits.
        let uncalibrated = calibrated_as(&read, Calibration::default());
        assert_ne!(read.digest_asked(QUESTION), uncalibrated.digest_asked(QUESTION));
        let learnt = accuracy(read, &log);
        assert!(learnt > 0.9, "{learnt}");

        let file = folder.path().join("calibration.json");
        std::fs::write(&file, r#"{"reward_scale":1,"temperature":0,"ctr_intercept":0}"#).unwrap();
        let refused = CaigReward::load(folder.path(), &placement.device, placement.dtype, &mut |_, _| ());
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("calibration.json") && refused.contains("temperature"),
            "{refused}"
        );
    }

    #[test]
    fn what_a_loaded_model_says_of_products_that_it_was_not_trained_on_is_as_sure_as_it_is_right() {
        // A third of the clicks says the contrary.
        let log = ToyLog::new(20).with_clicks(|creative| {
            let level = (creative.clicks - 60) / 50;
            let contrary = (creative.product as u64 * 31 + level * 17).is_multiple_of(3);
            60 + 50 * if contrary { 3 - level } else { level }
        });
        let config = RewardConfig {
            validation_share: 0.5,
            ..config(8)
        };
        let model = train("llava-hf-1.5/1", &log, &config, 2);
        let error = |calibration| {
            let served = ServedCaig::new(calibrated_as(&model, calibration), QUESTION.into());
            evaluate(&served, &log, 1000, 8, 7).unwrap().calibration_error
        };
        let (raw, calibrated) = (error(Calibration::default()), error(model.calibration));
        assert!(calibrated < raw, "{calibrated} after {raw}");
    }

    #[test]
    fn a_reward_model_of_caigs_is_trained_further_and_threads_change_no_bit() {
        let log = ToyLog::new(8);
        let answers = |threads| {
            let model = train("caig-reward/1", &log, &config(1), threads);
            let pictures = [40, 220].map(|shade| toy_log::flat(shade).convert());
            model.compare(&pictures[0], &pictures[1], "Which?").unwrap()
        };
        let before = base("caig-reward/1");
        let pictures = [40, 220].map(|shade| toy_log::flat(shade).convert());
        let untrained = before.compare(&pictures[0], &pictures[1], "Which?").unwrap();
        assert_eq!(answers(1), answers(3));
        assert_ne!(answers(1), untrained);
    }

    #[test]
    fn a_question_that_does_not_fit_is_refused_before_anything_is_trained() {
        let log = ToyLog::new(8);
        let config = config(1);
        let question = "which part ".repeat(4_000) + "{caption}";
        let plan = LoadedTraining {
            config: &config,
            model: base("caig-reward/1"),
            question: &question,
            log: &log,
            seed: 5,
            threads: 1,
        };
        let mut steps = 0;
        let refused = train_loaded(plan, &mut |_| steps += 1, &CancellationToken::new()).unwrap_err();
        assert!(
            refused.is_configuration() && refused.to_string().contains("reward_server.question"),
            "{refused}"
        );
        assert_eq!(steps, 0);
    }
}

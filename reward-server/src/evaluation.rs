//! How good a reward model is on products it has never seen, beside how good it could be.
//!
//! Labels are noisy: even the true click-through rates would get some pairs wrong. Accuracy is therefore reported beside
//! that ceiling, and with an interval that knows that pairs of one product are not independent.

use crate::dataset::{LabelledPair, LoggedProduct};
use crate::error::RewardError;
use crate::scorer::ScoreFailure;
use crate::served::{CreativeGroup, Preparation, RawScores, ServedModel};
use data::label_quality::{
    Prediction, creative_pairs, estimated_label_ceiling, expected_calibration_error, known_label_ceiling,
};
use data::{ClickCounts, ClickLog};
use models::ctr::Calibration;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Products scored at a time, which bounds memory.
const PRODUCTS: usize = 64;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 1000;

/// Bins of the calibration error.
const BINS: usize = 10;

/// What was measured on the test products of a click log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewardReport {
    /// Share of labelled pairs whose observed order the model gives; a tie counts half.
    pub pair_accuracy: f64,
    /// Its 95 % interval, `[low, high]`: percentiles of a bootstrap over products.
    pub pair_accuracy_ci: [f64; 2],
    /// The accuracy of a model that knows the true click-through rates; estimated from the counts where nobody does.
    pub label_ceiling: f64,
    /// Share of pairs that keep their preference when the two creatives change places, measured by doing so.
    pub swap_consistency: f64,
    /// Expected calibration error of P(left has the higher observed rate), 10 bins; 0 is perfect.
    pub calibration_error: f64,
    /// Labelled pairs measured.
    pub pairs: usize,
    /// Products they belong to.
    pub products: usize,
}

/// Checks that training and test products each have creatives to compare, before anything takes time.
///
/// # Errors
/// [`RewardError::NoPairs`] naming the part that has none.
pub fn check_log(log: &dyn ClickLog, min_impressions: u64) -> Result<(), RewardError> {
    let split = log.split();
    for (part, products) in [("training", split.train), ("test", split.test)] {
        if creative_pairs(log, products, min_impressions).is_empty() {
            return Err(RewardError::NoPairs {
                part,
                min_impressions,
            });
        }
    }
    Ok(())
}

/// Measures `model` on the test products of `log`, on pairs of creatives with more than `min_impressions` impressions
/// each and different observed click-through rates, at most `max_batch` creatives or ordered pairs of them in one pass. `seed`
/// decides sides and resamples.
///
/// # Errors
/// [`RewardError::NoPairs`] when there is no such pair, [`RewardError::Unscored`] when the model does not answer for a
/// product.
pub fn evaluate<M: ServedModel>(
    model: &M,
    log: &dyn ClickLog,
    min_impressions: u64,
    max_batch: usize,
    seed: u64,
) -> Result<RewardReport, RewardError> {
    let test = log.split().test;
    let labels = creative_pairs(log, test.clone(), min_impressions);
    let ceiling = known_label_ceiling(log, &labels).or_else(|| estimated_label_ceiling(log, &labels));
    let label_ceiling = ceiling.ok_or(RewardError::NoPairs {
        part: "test",
        min_impressions,
    })?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tallies = vec![];
    for first in test.clone().step_by(PRODUCTS) {
        let range = first..test.end.min(first + PRODUCTS);
        let products = LoggedProduct::read(log, range, min_impressions);
        tallies.extend(tally(model, log, &products, max_batch, &mut rng)?);
    }
    let sum = |part: fn(&Tally) -> f64| tallies.iter().map(part).sum::<f64>();
    let pairs = sum(|tally| tally.pairs as f64);
    let predictions: Vec<Prediction> = tallies
        .iter()
        .flat_map(|tally| tally.predictions.clone())
        .collect();
    Ok(RewardReport {
        pair_accuracy: sum(|tally| tally.right) / pairs,
        pair_accuracy_ci: interval(&tallies, &mut rng),
        label_ceiling,
        swap_consistency: sum(|tally| tally.consistent as f64) / pairs,
        calibration_error: expected_calibration_error(&predictions, BINS).unwrap_or(f64::NAN),
        pairs: labels.len(),
        products: tallies.len(),
    })
}

/// What one product contributes.
#[derive(Debug, Clone)]
struct Tally {
    pairs: usize,
    right: f64,
    consistent: usize,
    predictions: Vec<Prediction>,
}

/// Tallies of the products that have labelled pairs.
fn tally<M: ServedModel>(
    model: &M,
    log: &dyn ClickLog,
    products: &[LoggedProduct],
    max_batch: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Tally>, RewardError> {
    let labelled: Vec<&LoggedProduct> = products
        .iter()
        .filter(|product| !product.pairs.is_empty())
        .collect();
    let (scored, calibration) = (swapped(model, log, &labelled, max_batch)?, model.calibration());
    let tally = |(scored, product): (SwappedGroup, &LoggedProduct)| {
        let margins = product
            .pairs
            .iter()
            .map(|pair| scored.forwards.margins.margin(pair.higher, pair.lower));
        let margins: Vec<f64> = margins.collect();
        let consistent = |pair: &&LabelledPair| scored.is_consistent(pair.higher, pair.lower);
        Tally {
            pairs: margins.len(),
            right: margins.iter().map(|margin| credit(*margin)).sum(),
            consistent: product.pairs.iter().filter(consistent).count(),
            predictions: margins
                .iter()
                .map(|m| predict(*m, rng.random(), &calibration))
                .collect(),
        }
    };
    Ok(scored.into_iter().zip(labelled).map(tally).collect())
}

/// Scores every product's creatives in their order, and with the last one first.
fn swapped<M: ServedModel>(
    model: &M,
    log: &dyn ClickLog,
    products: &[&LoggedProduct],
    max_batch: usize,
) -> Result<Vec<SwappedGroup>, RewardError> {
    let forwards = scored(model, log, products, max_batch, false)?;
    let backwards = scored(model, log, products, max_batch, true)?;
    let group = |(forwards, backwards)| SwappedGroup { forwards, backwards };
    Ok(forwards.into_iter().zip(backwards).map(group).collect())
}

/// Scores every product's creatives in their order, or `backwards`.
///
/// # Errors
/// [`RewardError::Unscored`] with the product at which the model failed.
pub(crate) fn scored<M: ServedModel>(
    model: &M,
    log: &dyn ClickLog,
    products: &[&LoggedProduct],
    max_batch: usize,
    backwards: bool,
) -> Result<Vec<RawScores>, RewardError> {
    let prepare: Preparation<M::Creative> = model.preparation();
    let group = |product: &&LoggedProduct| {
        let image = |creative: &usize| prepare(&log.creatives()[*creative].image);
        let mut creatives: Vec<M::Creative> = product.creatives.iter().map(image).collect();
        if backwards {
            creatives.reverse();
        }
        CreativeGroup {
            caption: log.products()[product.product].caption.clone(),
            creatives,
        }
    };
    let groups: Vec<_> = products.iter().map(group).collect();
    let answers = model.raw_scores(&groups, max_batch);
    let of_product = |(answer, product): (Result<RawScores, ScoreFailure>, &&LoggedProduct)| {
        answer.map_err(|failure| RewardError::Unscored {
            product: log.products()[product.product].id.to_string(),
            failure,
        })
    };
    answers.into_iter().zip(products).map(of_product).collect()
}

/// One group scored twice: in its order, and with the last creative first.
#[derive(Debug, Clone)]
struct SwappedGroup {
    /// In its order.
    forwards: RawScores,
    backwards: RawScores,
}

impl SwappedGroup {
    /// Whether `a` and `b` keep their preference: `a` left in the first pass, `b` left in the second.
    fn is_consistent(&self, a: usize, b: usize) -> bool {
        let last = self.forwards.scores.len() - 1;
        let (first, second) = if a < b { (a, b) } else { (b, a) };
        let left = self.forwards.margins.placed(first, second);
        let right = self.backwards.margins.placed(last - second, last - first);
        left * right <= 0.0
    }
}

/// 1 for the right order, a half for a tie.
fn credit(margin: f64) -> f64 {
    if margin > 0.0 {
        1.0
    } else if margin == 0.0 {
        0.5
    } else {
        0.0
    }
}

/// The prediction that the left creative wins, for a pair whose better creative has this margin and stands left or not.
fn predict(margin: f64, better_is_left: bool, calibration: &Calibration) -> Prediction {
    let (margin, clicks) = if better_is_left { (margin, 1) } else { (-margin, 0) };
    Prediction {
        rate: calibration.probability(margin),
        observed: ClickCounts {
            impressions: 1,
            clicks,
        },
    }
}

/// Percentile bootstrap over products (Efron 1979).
fn interval(tallies: &[Tally], rng: &mut ChaCha8Rng) -> [f64; 2] {
    let mut resample = || {
        let (mut right, mut pairs) = (0.0, 0.0);
        for _ in tallies {
            let drawn = &tallies[rng.random_range(0..tallies.len())];
            right += drawn.right;
            pairs += drawn.pairs as f64;
        }
        right / pairs
    };
    let mut accuracies: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    accuracies.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|share| accuracies[((RESAMPLES - 1) as f64 * share).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy_log::{ToyLog, model};
    use models::ctr::CtrForm;

    #[test]
    fn a_siamese_model_never_contradicts_itself_and_the_interval_holds_the_accuracy() {
        let report = evaluate(&model(CtrForm::Siamese, 3), &ToyLog::new(16), 1000, 256, 7).unwrap();
        assert_eq!(report.swap_consistency, 1.0);
        assert_eq!((report.products, report.pairs), (4, 4 * 6));
        let [low, high] = report.pair_accuracy_ci;
        assert!(
            low <= report.pair_accuracy && report.pair_accuracy <= high && high <= 1.0,
            "{report:?}"
        );
        assert!(report.label_ceiling > 0.9, "{report:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_report_under_the_public_names() {
        let evaluate = || evaluate(&model(CtrForm::Concat, 3), &ToyLog::new(16), 1000, 256, 7).unwrap();
        let report = evaluate();
        assert_eq!(report, evaluate());
        let json = serde_json::to_value(&report).unwrap();
        let names = [
            "pair_accuracy",
            "pair_accuracy_ci",
            "label_ceiling",
            "swap_consistency",
            "calibration_error",
        ];
        for name in names {
            assert!(json.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn test_products_without_labelled_pairs_are_an_error_that_names_the_floor() {
        let error = evaluate(&model(CtrForm::Siamese, 3), &ToyLog::new(16), 1_000_000, 256, 7).unwrap_err();
        assert!(
            error.to_string().contains("test") && error.to_string().contains("1000000"),
            "{error}"
        );
    }

    #[test]
    fn a_margin_is_credited_by_its_sign_and_a_tie_by_half() {
        assert_eq!([0.1, 0.0, -0.1].map(credit), [1.0, 0.5, 0.0]);
        let (left, right) = (
            predict(1.0, true, &Calibration::default()),
            predict(1.0, false, &Calibration::default()),
        );
        assert_eq!((left.observed.clicks, right.observed.clicks), (1, 0));
        assert!((left.rate + right.rate - 1.0).abs() < 1e-12);
    }
}

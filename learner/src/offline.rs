//! Training on preference pairs from a file: the loop without a service, without actors, and with nobody asked for a reward.
//!
//! Everything else is as in a run: the same losses, the same adapter, and negatives from the file's other rows.

mod rows;

use crate::assortment::Assortment;
use crate::collate::Collator;
use crate::config::LearnerConfig;
use crate::error::LearnerError;
use crate::refusals::{check_catalogue, check_mask};
use crate::step_log::StepLog;
use crate::train_loop::{TrainedVersion, Trainer};
use crate::training_pair::{Completion, PairBatch, PairSource, TrainingPair};
use common::{LearnerEpoch, PolicyVersion, Purpose, TaskId, derive_seed};
use data::PreferenceFile;
use models::policy::Policy;
use models::weights::NamedTensors;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What training on a file needs besides its configuration. The result is a function of everything but `threads`.
pub struct OfflineInputs {
    /// Every draw derives from it.
    pub run_seed: u64,
    /// The policy to start from.
    pub policy: Policy,
    /// The pairs.
    pub pairs: Arc<PreferenceFile>,
    /// How often each is trained on, at least 1.
    pub epochs: u64,
    /// Where a line of JSON per optimizer step is written (docs/metrics.md), replacing what was there; `None` for nowhere.
    pub steps_file: Option<PathBuf>,
    /// Micro-batches computed at a time, at least 1.
    pub threads: usize,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OfflineProgress {
    /// Batches of `pairs_per_version` trained on.
    pub batches: u64,
    /// Of so many.
    pub of: u64,
    /// Mean loss of the last batch.
    pub loss: f64,
    /// Share of its pairs whose chosen completion gained more log-probability than the rejected one.
    pub accuracy_dpo: f64,
}

/// Trains an adapter. `progress` is told every batch.
///
/// Of `config` the loss, the adapter, the optimizer and the sizes of batches count; how many batches there are follows from
/// the file and `epochs`.
///
/// # Errors
/// [`LearnerError::Config`]; before the first step [`LearnerError::Rows`] with every row that does not fit the policy's context
/// and [`LearnerError::Catalogue`] with one that has no partner;
/// [`LearnerError::NotFinite`]; [`LearnerError::Cancelled`] on `stop`.
pub fn train_on_pairs(
    config: &LearnerConfig,
    inputs: OfflineInputs,
    progress: &mut dyn FnMut(OfflineProgress),
    stop: &CancellationToken,
) -> Result<NamedTensors, LearnerError> {
    let OfflineInputs {
        run_seed,
        policy,
        pairs,
        epochs,
        steps_file,
        threads,
    } = inputs;
    let total = epochs.max(1).saturating_mul(pairs.preferences().len() as u64);
    let config = sized(config, total);
    config.validate()?;
    check_catalogue(&config, pairs.as_ref())?;
    check_mask(&config, &policy)?;
    let assortment = Arc::new(Assortment::unstored(pairs.clone(), run_seed));
    let partners = assortment.partners(config.loss.partner);
    let completions = rows::encoded(&pairs, &policy, &config.loss, &partners)?;

    let start = PolicyVersion::initial(LearnerEpoch(1));
    let seed = derive_seed(run_seed, TaskId(0), start, Purpose::Initialisation);
    let model = policy.model.clone().with_adapter(&config.lora, seed)?;
    let mut source = FilePairs {
        assortment: assortment.clone(),
        completions,
        pairs_per_version: config.pairs_per_version as u64,
        total,
    };
    let (loss, cached) = (config.loss.clone(), config.feature_cache_bytes);
    let collator = Collator::new(Arc::new(policy), assortment, partners, loss, run_seed, cached);
    let mut trainer = Trainer::new(model, collator, config.clone(), run_seed, threads)?;
    let mut log = StepLog::open(steps_file.as_deref(), 0)?;
    let mut adapter = NamedTensors::new();
    let publish = |trained: TrainedVersion| {
        progress(OfflineProgress {
            batches: trained.version.number,
            of: config.versions,
            loss: trained.metrics["loss"],
            accuracy_dpo: trained.metrics["accuracy_dpo"],
        });
        adapter = trained.adapter;
        Ok(())
    };
    trainer.train(start, &mut source, stop, &mut log, publish)?;
    Ok(adapter)
}

/// The settings for `total` pairs: as many versions as batches are needed, each trained on once.
fn sized(config: &LearnerConfig, total: u64) -> LearnerConfig {
    let all = usize::try_from(total).unwrap_or(usize::MAX);
    let pairs_per_version = config.pairs_per_version.min(all);
    LearnerConfig {
        versions: total.div_ceil(pairs_per_version.max(1) as u64),
        pairs_per_version,
        minibatch_pairs: config.minibatch_pairs.min(pairs_per_version),
        passes: 1,
        ..config.clone()
    }
}

/// The rows of a file as batches: one pass after the other, each in an order of its own.
struct FilePairs {
    assortment: Arc<Assortment>,
    /// By row.
    completions: Vec<rows::Answers>,
    pairs_per_version: u64,
    /// Pairs of all batches.
    total: u64,
}

impl PairSource for FilePairs {
    fn next_batch(&mut self, version: PolicyVersion) -> Result<PairBatch, LearnerError> {
        let first = version.number * self.pairs_per_version;
        let end = (first + self.pairs_per_version).min(self.total);
        let completion = |token_ids: &Vec<u32>| Completion {
            token_ids: token_ids.clone(),
            behaviour: None,
        };
        let pair = |task: u64| {
            let task = TaskId(task);
            let [chosen, rejected] = &self.completions[self.assortment.subject(task).product];
            TrainingPair {
                task,
                chosen: completion(chosen),
                rejected: completion(rejected),
            }
        };
        Ok(PairBatch {
            version,
            pairs: (first..end).map(pair).collect(),
            sampled: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LossConfig, LossMode, Partner};
    use crate::test_policy::policy;
    use data::{Catalogue as _, Preference};
    use image::{Rgba, RgbaImage};
    use models::lora::LoraConfig;

    /// Ten rows: every lamp of its own grey prefers the desk.
    fn pairs() -> (tempfile::TempDir, Arc<PreferenceFile>) {
        let folder = tempfile::tempdir().unwrap();
        let line = |grey: u8| {
            let name = format!("{grey}.png");
            let shade = Rgba([20 * grey, 90, 200, 255]);
            RgbaImage::from_pixel(16, 16, shade)
                .save(folder.path().join(&name))
                .unwrap();
            let preference = Preference {
                chosen: "oak desk".into(),
                rejected: "warm light".into(),
            };
            data::trl_line(&name, &format!("suggest \"{grey}\""), &preference)
        };
        let lines: Vec<String> = (0..10).map(line).collect();
        let path = folder.path().join("pairs.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let file = PreferenceFile::load(&path).unwrap();
        (folder, Arc::new(file))
    }

    fn config(mode: LossMode) -> LearnerConfig {
        let mut config = LearnerConfig {
            pairs_per_version: 4,
            minibatch_pairs: 4,
            lora: LoraConfig::new(2, 4.0),
            loss: LossConfig {
                partner: Partner::Uniform,
                // Mode compat has its own, which learn slowly.
                nll_weight: LossConfig::default().nll_weight,
                ..LossConfig::of(mode)
            },
            ..LearnerConfig::default()
        };
        config.optimizer.warmup_steps = 0;
        config.optimizer.learning_rate = 1e-2;
        config
    }

    fn inputs(pairs: &Arc<PreferenceFile>, epochs: u64, threads: usize) -> OfflineInputs {
        OfflineInputs {
            run_seed: 3,
            policy: policy(),
            pairs: pairs.clone(),
            epochs,
            steps_file: None,
            threads,
        }
    }

    fn train(
        config: &LearnerConfig,
        inputs: OfflineInputs,
    ) -> Result<(NamedTensors, Vec<OfflineProgress>), LearnerError> {
        let mut seen = vec![];
        let stop = CancellationToken::new();
        let adapter = train_on_pairs(config, inputs, &mut |progress| seen.push(progress), &stop)?;
        Ok((adapter, seen))
    }

    #[test]
    fn what_the_file_prefers_becomes_likelier_in_every_mode() {
        let (_folder, pairs) = pairs();
        for mode in LossMode::ALL {
            let (adapter, seen) = train(&config(mode), inputs(&pairs, 12, 2)).unwrap();
            assert_eq!((seen.len(), seen[0].of, seen[29].batches), (30, 30, 30));
            assert!(seen[29].accuracy_dpo > 0.9, "{mode}: {seen:?}");
            assert!(seen[29].loss < seen[0].loss, "{mode}: {seen:?}");
            let policy = policy();
            let score = |model: models::llava::Llava| {
                let policy = Policy {
                    model,
                    ..policy.clone()
                };
                let features = policy.image_features(&[&pairs.products()[0].image]).unwrap();
                let prompt = policy.prompt_ids("suggest \"0\"", true).unwrap();
                let of = |text: &str| {
                    let completion_ids = policy.completion_ids(text).unwrap();
                    let row = models::batch::CompletionRow {
                        prompt_ids: &prompt,
                        image: Some(0),
                        completion_ids: &completion_ids,
                    };
                    policy.log_probs(&[row], &features, 1).unwrap()[0]
                };
                of("oak desk") - of("warm light")
            };
            let trained = policy
                .model
                .clone()
                .with_adapter(&config(mode).lora, 0)
                .and_then(|model| model.load_adapter(&adapter))
                .unwrap();
            assert!(score(trained) > score(policy.model.clone()) + 1.0, "{mode}");
        }
    }

    #[test]
    fn every_epoch_trains_each_row_once_and_threads_change_no_bit() {
        let (_folder, pairs) = pairs();
        let mut source = FilePairs {
            assortment: Arc::new(Assortment::unstored(pairs.clone(), 3)),
            completions: (0..10).map(|row| [vec![row, 2], vec![2]]).collect(),
            pairs_per_version: 4,
            total: 20,
        };
        let mut rows = vec![];
        for number in 0..5 {
            let version = crate::test_outcomes::version(number);
            let batch = source.next_batch(version).unwrap();
            rows.extend(batch.pairs.iter().map(|pair| pair.chosen.token_ids[0]));
        }
        for epoch in rows.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(rows[..10], rows[10..]);
        let config = config(LossMode::JointSwap);
        let one = train(&config, inputs(&pairs, 1, 1)).unwrap().0;
        assert_eq!(one, train(&config, inputs(&pairs, 1, 3)).unwrap().0);
    }

    /// Pairs of questions, chosen and rejected answers of so many words.
    fn of_lengths(rows: &[[usize; 3]]) -> (tempfile::TempDir, Arc<PreferenceFile>) {
        let (folder, _) = pairs();
        let words = |count: usize| "№ ".repeat(count);
        let line = |(row, [asked, chosen, rejected]): (usize, &[usize; 3])| {
            let preference = Preference {
                chosen: format!("{}x", words(*chosen)),
                rejected: format!("{}y", words(*rejected)),
            };
            data::trl_line(&format!("{row}.png"), &format!("{}?", words(*asked)), &preference)
        };
        let lines: Vec<String> = rows.iter().enumerate().map(line).collect();
        let path = folder.path().join("mine.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let pairs = Arc::new(PreferenceFile::load(&path).unwrap());
        (folder, pairs)
    }

    #[test]
    fn every_row_too_long_for_the_context_is_named_before_anything_is_trained() {
        let (_folder, pairs) = of_lengths(&[[1, 1, 2], [1, 60, 1], [1, 1, 1], [1, 1, 60], [60, 1, 1]]);
        let (mut seen, stop) = (0, CancellationToken::new());
        let refusal = train_on_pairs(
            &config(LossMode::Dpo),
            inputs(&pairs, 1, 1),
            &mut |_| seen += 1,
            &stop,
        )
        .unwrap_err();
        assert!(refusal.is_configuration());
        let text = refusal.to_string();
        for words in [
            "mine.jsonl: 3 mistake(s)",
            "row 2, prompt: ",
            "row 4, prompt: ",
            "row 5, prompt: ",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
        assert!(
            text.contains("its chosen answer") && text.contains("its rejected answer"),
            "{text}"
        );
        assert_eq!(seen, 0);
    }

    /// A long question and a long answer in different rows: together they fit only where a row keeps to its own.
    #[test]
    fn an_answer_that_fits_its_own_row_alone_is_refused_where_it_comes_under_another() {
        let (_folder, pairs) = of_lengths(&[[1, 1, 2], [20, 1, 2], [1, 20, 2]]);
        for mode in LossMode::ALL {
            let end = train(&config(mode), inputs(&pairs, 1, 1));
            match mode {
                LossMode::JointSwap | LossMode::Paper | LossMode::CaptionOnly => {
                    let text = end.unwrap_err().to_string();
                    let told = text.contains("row 3, prompt: as a negative") && text.contains("of row 2, ");
                    assert!(told && text.contains("1 mistake(s)"), "{mode}: {text}");
                }
                // Every picture takes as many positions.
                LossMode::Dpo | LossMode::MaskOnly | LossMode::Compat => {
                    assert!(end.is_ok(), "{mode}: {end:?}")
                }
            }
        }
    }
}

//! Pre-training on a corpus of two colours: it learns to read the picture, and it repeats.

use super::*;
use crate::assortment::test_catalogue::catalogue;
use data::{Catalogue, CorpusImage, CorpusSample, Modality, Product, TaskFamily};

/// Asks for the name of a product's colour, with the picture, with its name in words, or with both.
struct Colours {
    catalogue: crate::assortment::test_catalogue::TestCatalogue,
    names: [&'static str; 2],
}

const NAMES: [&str; 2] = ["dark blue", "bright pink"];

fn colours() -> Colours {
    // Products 0 and 12: red 0 and red 240.
    Colours {
        catalogue: catalogue(&[None; 13]),
        names: NAMES,
    }
}

impl Corpus for Colours {
    fn sample(&self, index: u64, seed: u64) -> CorpusSample {
        let draw = derive_seed(
            seed,
            TaskId(index),
            PolicyVersion::initial(LearnerEpoch(1)),
            Purpose::World,
        );
        let (which, modality) = (
            (draw % 2) as usize,
            [Modality::Image, Modality::Text, Modality::ImageText][index as usize % 3],
        );
        let words = if modality == Modality::Image {
            ""
        } else {
            self.names[which]
        };
        CorpusSample {
            family: Some(TaskFamily::Understanding),
            modality,
            product: Some(which * 12),
            image: (modality != Modality::Text).then_some(CorpusImage::Product(which * 12)),
            instruction: format!("name the colour {words}"),
            completion: self.names[which].into(),
        }
    }

    fn products(&self) -> &[Product] {
        self.catalogue.products()
    }

    fn texts(&self) -> Vec<String> {
        NAMES.map(|name| format!("name the colour {name}")).into()
    }
}

fn config() -> PretrainConfig {
    let mut config = PretrainConfig {
        samples: 240,
        batch: 8,
        vocab_size: 320,
        ..PretrainConfig::default()
    };
    config.optimizer.warmup_steps = 0;
    config
}

fn pretrain_with(
    config: &PretrainConfig,
    threads: usize,
    progress: &mut dyn FnMut(PretrainProgress),
    cancel: &CancellationToken,
) -> Result<Policy, LearnerError> {
    let device = Device::flex();
    let start = PretrainStart::Fresh {
        preset: Preset::Tiny,
        device: &device,
    };
    pretrain_from(start, &colours(), config, threads, progress, cancel)
}

fn pretrain_from(
    start: PretrainStart<'_>,
    corpus: &Colours,
    config: &PretrainConfig,
    threads: usize,
    progress: &mut dyn FnMut(PretrainProgress),
    cancel: &CancellationToken,
) -> Result<Policy, LearnerError> {
    let plan = Pretraining {
        config,
        start,
        corpus,
        seed: 1,
        threads,
    };
    pretrain(plan, progress, cancel)
}

fn train(config: &PretrainConfig, threads: usize) -> Result<(Policy, Vec<PretrainProgress>), LearnerError> {
    let mut seen = vec![];
    let cancel = CancellationToken::new();
    let mut progress = |p| seen.push(p);
    let policy = pretrain_with(config, threads, &mut progress, &cancel)?;
    Ok((policy, seen))
}

#[test]
fn a_picture_is_read_and_named() {
    let (policy, seen) = train(&config(), 2).unwrap();
    assert_eq!((seen.len(), seen[29].step, seen[29].steps), (30, 30, 30));
    assert!(
        seen[0].loss > 4.0 && seen[29].loss < 0.3,
        "{} -> {}",
        seen[0].loss,
        seen[29].loss
    );
    let corpus = colours();
    let prompt = policy.prompt_ids("name the colour ", true).unwrap();
    for (product, name) in [(0, NAMES[0]), (12, NAMES[1])] {
        let features = policy
            .image_features(&[&corpus.products()[product].image])
            .unwrap();
        let prompts = [models::policy::Prompt {
            ids: prompt.clone(),
            image: Some(0),
            seed: 1,
        }];
        let params = models::policy::SamplingParams::greedy(8);
        assert_eq!(
            policy.sample(&prompts, Some(&features), &params).unwrap()[0].text,
            name
        );
    }
}

#[test]
fn beside_a_loaded_policy_an_adapter_learns_and_nothing_else_changes() {
    let base = train(&config(), 1).unwrap().0;
    let frozen = collect(&base.model, |_| true);
    // What it has learnt, the other way round.
    let corpus = Colours {
        names: [NAMES[1], NAMES[0]],
        ..colours()
    };
    let mut config = config();
    config.optimizer.learning_rate = 1e-2;
    for (dropout, activation_checkpointing) in [(0.0, false), (0.1, true)] {
        config.lora.dropout = dropout;
        config.activation_checkpointing = activation_checkpointing;
        let mut seen = vec![];
        let policy = pretrain_from(
            PretrainStart::Loaded(Box::new(base.clone())),
            &corpus,
            &config,
            2,
            &mut |progress: PretrainProgress| seen.push(progress.loss),
            &CancellationToken::new(),
        )
        .unwrap();
        assert!(seen[seen.len() - 1] < 0.5 * seen[0], "{seen:?}");
        assert!(!policy.model.adapter().is_empty());
        assert_eq!(collect(&policy.model.without_adapter(), |_| true), frozen);
    }
}

#[test]
fn training_repeats_whatever_the_number_of_threads() {
    let short = PretrainConfig {
        samples: 24,
        ..config()
    };
    let weights = |threads| collect(&train(&short, threads).unwrap().0.model, |_| true);
    assert_eq!(weights(1), weights(2));
}

#[test]
fn a_rate_that_explodes_is_an_error_with_its_step() {
    let mut wild = PretrainConfig {
        samples: 120,
        ..config()
    };
    // Every step makes each matrix a hundred times larger.
    wild.optimizer.learning_rate = 1.0;
    wild.optimizer.weight_decay = 100.0;
    wild.optimizer.schedule = models::optimizer::Schedule::Constant;
    assert!(matches!(train(&wild, 1), Err(LearnerError::NotFinite { .. })));
}

/// A made corpus has no rows to look at before: what is told then is the sample, not its place in some batch.
#[test]
fn a_sample_too_long_for_the_context_is_told_by_its_number() {
    let long: &str = Box::leak("№".repeat(600).into_boxed_str());
    let (device, cancel) = (Device::flex(), CancellationToken::new());
    let start = PretrainStart::Fresh {
        preset: Preset::Tiny,
        device: &device,
    };
    let corpus = Colours {
        names: [NAMES[0], long],
        ..colours()
    };
    let seed = seed_for(1, Purpose::Pretraining);
    let first = (0..).find(|&index| corpus.sample(index, seed).completion == long);
    let refusal = pretrain_from(start, &corpus, &config(), 1, &mut |_| (), &cancel).unwrap_err();
    assert!(refusal.is_configuration());
    let told = format!("sample {} of the corpus: its prompt takes", first.unwrap());
    assert!(refusal.to_string().starts_with(&told), "{refusal}");
}

#[test]
fn cancelling_ends_training_without_a_policy() {
    let cancel = CancellationToken::new();
    let mut progress = |_| cancel.cancel();
    let end = pretrain_with(&config(), 1, &mut progress, &cancel);
    assert!(matches!(end, Err(LearnerError::Cancelled)));
}

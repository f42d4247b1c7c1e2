//! What a policy version is worth, measured on test products (on all where none are held out): sample, render, score, and ask the oracle.
//!
//! Every version is measured with the same products, instructions and sampling seeds, so that two versions differ by
//! their weights only. The learner never sees any of this.

mod figures;
mod judged;
mod measured_on;
mod subjects;
mod swapped_inputs;
mod win_rate;

pub(crate) use figures::{Evaluation, Sample};
pub(crate) use measured_on::MeasuredOn;
pub(crate) use win_rate::{WinRate, win_rate};

use crate::config::Config;
use crate::reward::Reward;
use crate::shop::{self, Shop};
use anyhow::ensure;
use common::{DecidingSettings, Purpose};
use data::Product;
use figures::{mean, mean_known};
use image::{RgbImage, RgbaImage};
use judged::Judged;
use models::batch::CompletionRow;
use models::checkpoint::in_log;
use models::image_features::ImageFeatures;
use models::peft::Adapter;
use models::policy::{Completion, Policy, Prompt, SamplingParams};
use models::weights::from_safetensors;
use proto::observe::Pulse;
use std::collections::BTreeSet;
use std::path::Path;
use subjects::{Subject, subjects};
use swapped_inputs::{Scored, SwappedInputs, partners, swapped_inputs};

/// Measures versions of one policy. It owns the models, so it lives on a compute thread.
pub(crate) struct Evaluator {
    policy: Policy,
    reward: Reward,
    shop: Shop,
    subjects: Vec<Subject>,
    /// With which subject each one changes places.
    partners: Vec<Option<usize>>,
    settings: Settings,
    /// An image of each subject, of the first version measured.
    anchors: Option<Vec<Option<RgbImage>>>,
    /// The first version measured: modes that are compared start from the same one.
    start: Option<(Vec<u8>, Evaluation)>,
}

struct Settings {
    samples: usize,
    kl_samples: usize,
    batch: usize,
    score_batch: usize,
    /// Descriptions of a product that are rendered together, as an actor renders a group.
    group: usize,
    params: SamplingParams,
}

/// What log-probabilities tell of a version.
struct Nats {
    kl: f64,
    swapped: Option<SwappedInputs>,
}

impl Evaluator {
    /// Loads the policy and the reward model; `pulse` beats while their weights come.
    ///
    /// # Errors
    /// When a directory holds no such model.
    pub(crate) fn load(
        config: &Config,
        shop: Shop,
        policy: &Path,
        reward: &Path,
        pulse: &Pulse,
    ) -> anyhow::Result<Self> {
        let placement = config.compute.placement()?;
        let mut progress = pulse.with_progress(in_log("the policy"));
        let policy = Policy::load_on(policy, &placement, &mut progress)?;
        let mut policy = policy.read_as(&config.policy.reading());
        let seed = shop::seed(config, Purpose::Initialisation, 0);
        policy.model = policy.model.with_adapter(&config.learner.lora, seed)?;
        let subjects = subjects(config, shop.catalogue.as_ref(), &policy)?;
        let settings = Settings {
            samples: config.demo.samples,
            kl_samples: config.demo.kl_samples,
            batch: config.demo.batch,
            score_batch: config.reward_server.max_batch,
            group: config.actor.group_size,
            params: SamplingParams::plain(config.actor.max_new_tokens),
        };
        let mut progress = pulse.with_progress(in_log("the reward model"));
        let reward = Reward::load(config, reward, &mut progress)?;
        let products = shop.catalogue.products();
        let products: Vec<&Product> = subjects
            .iter()
            .map(|subject| &products[subject.product])
            .collect();
        let partners = partners(&products);
        Ok(Self {
            policy,
            reward,
            shop,
            subjects,
            partners,
            settings,
            anchors: None,
            start: None,
        })
    }

    /// Checks that every product's prompt leaves room for a completion in the policy's context, and that the reward model can be asked
    /// about those that are measured.
    ///
    /// # Errors
    /// Those of [`learner::check_prompts`] and [`Reward::check`]: mistakes of configuration.
    pub(crate) fn check_products(&self) -> anyhow::Result<()> {
        let (catalogue, most) = (self.shop.catalogue.as_ref(), self.settings.params.max_new_tokens);
        learner::check_prompts(catalogue, &self.policy, most)?;
        let asked = self
            .subjects
            .iter()
            .map(|subject| (subject.product, self.product(subject)));
        Ok(self.reward.check(asked, catalogue.places())?)
    }

    /// What its figures are of.
    pub(crate) fn measured_on(&self) -> MeasuredOn {
        MeasuredOn::of(self.shop.catalogue.as_ref())
    }

    /// Which products they are of, as a learner compares it.
    pub(crate) fn measured_products(&self) -> DecidingSettings {
        learner::measured_products(self.shop.catalogue.as_ref())
    }

    /// The mean click-through rate of the best descriptions; none without an oracle.
    pub(crate) fn best_ctr(&self) -> Option<f64> {
        let oracle = self.shop.oracle.as_ref()?;
        Some(mean(
            self.subjects
                .iter()
                .map(|subject| oracle.best_ctr(self.product(subject))),
        ))
    }

    /// Measures the version with this adapter (safetensors in PEFT's layout).
    ///
    /// # Errors
    /// When the adapter does not fit, or a sample cannot be rendered or scored.
    pub(crate) fn evaluate(&mut self, adapter: &[u8]) -> anyhow::Result<Evaluation> {
        if let Some((_, start)) = self.start.as_ref().filter(|(bytes, _)| bytes == adapter) {
            return Ok(start.clone());
        }
        let weights = from_safetensors(adapter)?;
        self.policy.model = self.policy.model.clone().load_adapter(&weights)?;
        let evaluation = self.measure()?;
        self.start
            .get_or_insert_with(|| (adapter.to_vec(), evaluation.clone()));
        Ok(evaluation)
    }

    /// Measures the policy without any adapter.
    ///
    /// # Errors
    /// When a sample cannot be rendered or scored.
    pub(crate) fn evaluate_base(&mut self) -> anyhow::Result<Evaluation> {
        self.policy.model = self.policy.model.without_adapter();
        self.measure()
    }

    /// Measures the policy with an adapter of any rank.
    ///
    /// # Errors
    /// When it belongs to another base, or a sample cannot be rendered or scored.
    pub(crate) fn evaluate_with(&mut self, adapter: &Adapter) -> anyhow::Result<Evaluation> {
        self.policy.model = adapter.attach(self.policy.model.clone())?;
        self.measure()
    }

    fn measure(&mut self) -> anyhow::Result<Evaluation> {
        let features = self.policy.image_features(&self.images())?;
        let mut completions = Vec::new();
        for prompts in self.prompts().chunks(self.settings.batch) {
            completions.extend(
                self.policy
                    .sample(prompts, Some(&features), &self.settings.params)?,
            );
        }
        let measures = Nats {
            kl: self.kl(&completions, &features)?,
            swapped: self.swapped_inputs(&completions, &features)?,
        };
        let judged = self.judge(completions)?;
        self.summarise(&judged, measures)
    }

    /// Mean of log pi - log ref over the completions that are compared, in nats; the reference is the policy without its
    /// adapter.
    fn kl(&self, completions: &[Completion], features: &ImageFeatures) -> anyhow::Result<f64> {
        let compared: Vec<_> = self.compared(completions).collect();
        let reference = self.log_probs(&self.policy.without_adapter(), &compared, features)?;
        let ratios = compared.iter().zip(reference);
        Ok(mean(ratios.map(|((_, completion), reference)| {
            log_prob(completion) - reference
        })))
    }

    /// What the completions that are compared become when products change places.
    fn swapped_inputs(
        &self,
        completions: &[Completion],
        features: &ImageFeatures,
    ) -> anyhow::Result<Option<SwappedInputs>> {
        let partnered = |(subject, completion)| Some((subject, self.partners[subject]?, completion));
        let compared: Vec<_> = self.compared(completions).filter_map(partnered).collect();
        let elsewhere: Vec<_> = compared
            .iter()
            .map(|&(_, partner, completion)| (partner, completion))
            .collect();
        let swapped = self.log_probs(&self.policy, &elsewhere, features)?;
        let scored = compared
            .iter()
            .zip(swapped)
            .map(|(&(subject, _, completion), swapped)| Scored {
                subject,
                own: log_prob(completion),
                swapped,
            });
        Ok(swapped_inputs(&self.partners, &scored.collect::<Vec<_>>()))
    }

    /// The log-probability of each completion under the subject beside it, in nats.
    fn log_probs(
        &self,
        policy: &Policy,
        completions: &[(usize, &Completion)],
        features: &ImageFeatures,
    ) -> anyhow::Result<Vec<f64>> {
        let rows: Vec<_> = completions
            .iter()
            .map(|&(subject, completion)| self.row(subject, completion))
            .collect();
        Ok(policy.log_probs(&rows, features, self.settings.batch)?)
    }

    fn images(&self) -> Vec<&RgbaImage> {
        self.subjects
            .iter()
            .map(|subject| &self.product(subject).image)
            .collect()
    }

    fn product(&self, subject: &Subject) -> &Product {
        &self.shop.catalogue.products()[subject.product]
    }

    /// All samples of the first subject, then of the second, and so on.
    fn prompts(&self) -> Vec<Prompt> {
        let samples = |(at, subject): (usize, &Subject)| -> Vec<Prompt> {
            let prompt = |&seed: &u64| Prompt {
                ids: subject.prompt_ids.clone(),
                image: Some(at),
                seed,
            };
            subject.sampling_seeds.iter().map(prompt).collect()
        };
        self.subjects.iter().enumerate().flat_map(samples).collect()
    }

    /// The completions that are compared with the reference, each with its subject.
    fn compared<'a>(&self, completions: &'a [Completion]) -> impl Iterator<Item = (usize, &'a Completion)> {
        let (samples, share) = (self.settings.samples, self.settings.kl_samples);
        completions
            .iter()
            .enumerate()
            .filter(move |(i, _)| i % samples < share)
            .map(move |(i, c)| (i / samples, c))
    }

    fn row<'a>(&'a self, subject: usize, completion: &'a Completion) -> CompletionRow<'a> {
        let prompt_ids = &self.subjects[subject].prompt_ids;
        CompletionRow {
            prompt_ids,
            image: Some(subject),
            completion_ids: &completion.token_ids,
        }
    }

    fn summarise(&self, judged: &[Judged], nats: Nats) -> anyhow::Result<Evaluation> {
        let scored: Vec<f64> = judged.iter().filter_map(|judged| judged.reward).collect();
        ensure!(
            !scored.is_empty(),
            "none of {} descriptions on {} gave an image that can be scored",
            judged.len(),
            self.measured_on().words()
        );
        let oracle = self.shop.oracle.as_deref();
        let product = |judged: &Judged| self.product(&self.subjects[judged.subject]);
        let true_ctr = |judged: &Judged| Some(oracle?.true_ctr(product(judged), &judged.completion.text));
        let matches = |judged: &Judged| {
            let matches = oracle?.matches_product(product(judged), &judged.completion.text);
            Some(share(matches && judged.defects == 0))
        };
        let tokens: usize = judged
            .iter()
            .map(|judged| judged.completion.token_ids.len())
            .sum();
        let valid = judged.iter().filter(|judged| judged.defects == 0);
        let texts: BTreeSet<&str> = valid.map(|judged| judged.completion.text.trim()).collect();
        let sample = |judged: &Judged| Sample {
            product: self.subjects[judged.subject].product,
            description: judged.completion.text.clone(),
            noise_seed: self.subjects[judged.subject].noise_seed,
            predicted_ctr: judged.reward.and_then(|reward| self.reward.predicted_ctr(reward)),
            true_ctr: true_ctr(judged),
        };
        Ok(Evaluation {
            reward: mean(scored.into_iter()),
            rewards: judged.iter().map(|judged| judged.reward).collect(),
            true_ctr: mean_known(judged.iter().map(true_ctr)),
            match_rate: mean_known(judged.iter().map(matches)),
            kl: nats.kl,
            swapped_inputs: nats.swapped,
            entropy: -judged
                .iter()
                .map(|judged| log_prob(&judged.completion))
                .sum::<f64>()
                / tokens.max(1) as f64,
            completion_tokens: tokens as f64 / judged.len().max(1) as f64,
            invalid_rate: mean(judged.iter().map(|judged| share(judged.defects > 0))),
            distinct_descriptions: texts.len() as u64,
            samples: judged.iter().step_by(self.settings.samples).map(sample).collect(),
        })
    }
}

fn log_prob(completion: &Completion) -> f64 {
    completion.log_probs.iter().map(|&value| f64::from(value)).sum()
}

fn share(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

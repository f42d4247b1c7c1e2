//! What an actor that decodes without a break notices of new weights: an adapter of the given length comes, is built beside the one
//! that is decoded with, and is swapped in.
//!
//! Learner, building and decoding share this process and its cores. The learner, which would have a machine of its own, stands back as far as
//! threads can.
//!
//! What is measured is the adoption, so the rest is chosen such that a border of two batches costs about what a decode step does: a batch has
//! about as many rows as a prompt has positions, a picture is one of these, and no outcome waits for the ledger's next flush.

use super::rig::{Plan, Rig};
use crate::config::Config;
use crate::failure::Outcome;
use crate::shop;
use actor::{ActorConfig, DecodeStep, DecodeTimes, Decoding, SimulatedSampling};
use anyhow::Context as _;
use data::Corpus as _;
use learner::{LearnerConfig, SimulatedAdapters};
use models::device::parse_device;
use models::lora::LoraConfig;
use models::peft::adapter_bytes;
use models::policy::Policy;
use models::presets::Preset;
use serde::Serialize;
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// Numbers of a token, and inside the feed-forward blocks: few, so that most of what a step reads is the adapter.
const WIDTH: usize = 256;

/// The adapter's rank, the largest that there is.
const RANK: usize = 1024;

/// Bytes of the adapter in one decoder layer: seven matrices of `WIDTH x WIDTH`, two factors each, f32.
const LAYER_BYTES: usize = 7 * 2 * WIDTH * RANK * 4;

/// Completions at once: about as many as a prompt has positions, so that a step is hardly quicker than the prompt's pass.
const ROWS: usize = 12;

/// Tokens of a completion.
const TOKENS: usize = 48;

/// Batches before the second version, from which the median is taken, and after it.
const BATCHES: u64 = 6;

/// How often is looked whether there have been enough steps.
const LOOKED_EVERY: Duration = Duration::from_millis(20);

/// What decoding noticed.
#[derive(Debug, Serialize)]
pub(crate) struct SwapFigures {
    /// The adapter's length: whole layers.
    bytes: usize,
    /// By how much the longest gap between two steps, from the announcement until the first batch after the adoption, was longer than the
    /// median gap before: a border of two batches, where a lease and a prompt's pass lie, counts as any other.
    #[serde(skip)]
    pub(super) pause_ms_max: f64,
    /// The same against the median of the gap's own kind: within a batch, or across such a border. The largest.
    beyond_kind_ms_max: f64,
    /// Median gap between two steps before the announcement.
    step_ms_median: f64,
    /// Longest gap before the announcement: nothing is swapped then.
    step_ms_max_before: f64,
    /// Median gap between a batch's last step and the next one's first before the announcement: a lease, and a prompt.
    border_ms_median: f64,
    /// The longest of them.
    border_ms_max_before: f64,
    /// That gap when the weights were swapped.
    border_ms_at_swap: f64,
    /// How long nothing was computed when the weights were swapped: from a batch's last step to the beginning of the next batch.
    idle_ms_at_swap: f64,
    /// The median of that before the announcement.
    idle_ms_median: f64,
    /// Longest gap within batches while the weights came and were built.
    step_ms_max_meanwhile: f64,
    /// Longest gap between batches from the announcement until the first batch after the adoption.
    border_ms_max_meanwhile: f64,
    /// From the announcement to the adoption.
    seconds: f64,
}

/// Measures it with an adapter of about so many bytes, which comes over TLS or in plain text.
///
/// # Errors
/// When a role ends early.
pub(super) async fn measure(bytes: usize, tls: bool) -> Outcome<SwapFigures> {
    let lora = LoraConfig::new(RANK, RANK as f64);
    // With words of its own for what it is asked, a prompt is as short as a large model's.
    let texts = shop::world(&Config::default())?.corpus().texts();
    let (policy, adapters) = {
        let lora = lora.clone();
        let made = tokio::task::spawn_blocking(move || decoding(bytes, &texts, &lora)).await;
        made.context("making a policy")??
    };
    let (store, times) = (
        Store::open("memory:///").context("a store in memory")?,
        DecodeTimes::default(),
    );
    let bytes = adapters[0].len();
    let plan = Plan {
        learner: LearnerConfig {
            // The run goes on after the version that is watched.
            versions: 1_000,
            pairs_per_version: BATCHES as usize,
            minibatch_pairs: 1,
            micro_batches: 1,
            passes: 1,
            max_staleness: 8,
            keep_versions: 2,
            ledger_flush_ms: 1,
            lora,
            ..LearnerConfig::default()
        },
        actor: ActorConfig {
            tasks_per_lease: 1,
            group_size: ROWS,
            max_new_tokens: TOKENS,
            ..ActorConfig::default()
        },
        actors: 1,
        relays: false,
        sampling: SimulatedSampling::Decode(Box::new(Decoding {
            policy,
            store: store.clone(),
            times: times.clone(),
        })),
        adapters: SimulatedAdapters::Given(adapters.into()),
        line: None,
        tls,
        store,
    };
    let mut rig = Rig::start(plan).await?;
    let mut announcements = rig.announcements().await?;
    rig.begin();
    announcements.message().await.context("no announcement")?;
    let announced = Instant::now();
    rig.until_all_have(1).await?;
    let adopted = Instant::now();
    // Until the first batch after it is well under way.
    while steps_since(&times, adopted) < TOKENS / 2 {
        tokio::time::sleep(LOOKED_EVERY).await;
    }
    rig.stop().await?;
    Ok(figures(bytes, &times.steps(), announced, adopted))
}

fn steps_since(times: &DecodeTimes, then: Instant) -> usize {
    times.steps().iter().filter(|step| step.at > then).count()
}

/// A policy with words for `texts` that decodes fast for its adapter of about `bytes`, and two versions of that adapter.
fn decoding(
    bytes: usize,
    texts: &[String],
    lora: &LoraConfig,
) -> anyhow::Result<(Policy, Vec<bytes::Bytes>)> {
    let tokenizer = Preset::Tiny.tokenizer(texts.iter())?;
    let device = parse_device("cpu")?;
    let mut policy = Preset::Tiny.policy(tokenizer, &device, 1);
    let text = &mut policy.config.text;
    (text.hidden_size, text.intermediate_size) = (WIDTH, WIDTH);
    text.num_hidden_layers = (bytes / LAYER_BYTES).max(1);
    // A picture is one position.
    policy.config.vision.patch_size = policy.config.vision.image_size;
    policy.model = policy.config.init(&device, 1);
    let version = |seed| -> anyhow::Result<bytes::Bytes> {
        Ok(adapter_bytes(&policy.model.clone().with_adapter(lora, seed)?.adapter())?.into())
    };
    let adapters = vec![version(1)?, version(2)?];
    Ok((policy, adapters))
}

/// Two steps one after the other.
struct Gap {
    from: DecodeStep,
    to: DecodeStep,
}

impl Gap {
    fn ms(&self) -> f64 {
        (self.to.at - self.from.at).as_secs_f64() * 1e3
    }

    /// Between two batches.
    fn is_border(&self) -> bool {
        self.to.begun.is_some()
    }

    /// What of it nothing is computed in.
    fn idle_ms(&self) -> f64 {
        let begun = self.to.begun.unwrap_or(self.from.at);
        (begun - self.from.at).as_secs_f64() * 1e3
    }
}

fn figures(bytes: usize, steps: &[DecodeStep], announced: Instant, adopted: Instant) -> SwapFigures {
    let gaps = steps.windows(2).map(|pair| Gap {
        from: pair[0],
        to: pair[1],
    });
    let (before, later): (Vec<Gap>, Vec<Gap>) = gaps.partition(|gap| gap.to.at < announced);
    let (borders, within): (Vec<&Gap>, Vec<&Gap>) = before.iter().partition(|gap| gap.is_border());
    let across = || later.iter().filter(|gap| gap.from.at <= adopted);
    // Weights are swapped between two batches; the last such gap that had begun when the adoption was seen is that one.
    let swap = across().rfind(|gap| gap.is_border());
    let most = |gaps: &mut dyn Iterator<Item = &Gap>| gaps.map(Gap::ms).fold(0.0, f64::max);
    let (step, border) = (
        median(within.iter().map(|gap| gap.ms())),
        median(borders.iter().map(|gap| gap.ms())),
    );
    let beyond = |gap: &Gap| gap.ms() - if gap.is_border() { border } else { step };
    let usual = median(before.iter().map(Gap::ms));
    SwapFigures {
        bytes,
        pause_ms_max: (most(&mut across()) - usual).max(0.0),
        beyond_kind_ms_max: across().map(beyond).fold(0.0, f64::max),
        step_ms_median: step,
        step_ms_max_before: most(&mut within.iter().copied()),
        step_ms_max_meanwhile: most(&mut across().filter(|gap| !gap.is_border())),
        border_ms_max_meanwhile: most(&mut across().filter(|gap| gap.is_border())),
        border_ms_median: border,
        border_ms_max_before: most(&mut borders.iter().copied()),
        border_ms_at_swap: swap.map_or(0.0, Gap::ms),
        idle_ms_median: median(borders.iter().map(|gap| gap.idle_ms())),
        idle_ms_at_swap: swap.map_or(0.0, Gap::idle_ms),
        seconds: (adopted - announced).as_secs_f64(),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_by_how_much_a_gap_across_the_adoption_is_longer_than_the_median_gap() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let first = |ms: u64, begun: u64| DecodeStep {
            at: at(ms),
            begun: Some(at(begun)),
        };
        let step = |ms: u64| DecodeStep {
            at: at(ms),
            begun: None,
        };
        // Two batches of steps of 10 ms with a border of 30; the third batch comes 75 ms after the second.
        let steps = [
            first(0, 0),
            step(10),
            step(20),
            first(50, 22),
            step(60),
            step(72),
            first(147, 79),
            step(157),
        ];
        let figures = figures(7, &steps, at(65), at(100));
        assert_eq!((figures.step_ms_median, figures.border_ms_median), (10.0, 30.0));
        assert_eq!((figures.pause_ms_max, figures.beyond_kind_ms_max), (65.0, 45.0));
        assert_eq!(
            (figures.border_ms_at_swap, figures.step_ms_max_meanwhile),
            (75.0, 12.0)
        );
        assert_eq!(figures.border_ms_max_meanwhile, 75.0);
        assert_eq!((figures.idle_ms_median, figures.idle_ms_at_swap), (2.0, 7.0));
    }
}

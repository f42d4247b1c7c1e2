//! What an actor tells whoever watches its process: its pulse, and a page of numbers. Names, units and meaning are in
//! docs/metrics.md; a test compares the two.

mod page;

use crate::learner_client::LearnerClient;
use common::PolicyVersion;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use proto::observe::{self, Page, Pulse, Registry};
use proto::trace::{Stage, TraceId};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// A sum that is not counted in whole numbers.
pub(crate) type Sum = Counter<f64, AtomicU64>;

/// An actor's instruments. Clones are the same ones; where nobody reads them they cost an addition each.
#[derive(Debug, Clone, Default)]
pub struct Instruments {
    /// Whether the actor takes part, and that it comes along until it does.
    pub pulse: Pulse,
    pub(crate) counts: Arc<Counts>,
    learner: Arc<OnceLock<Arc<LearnerClient>>>,
}

/// What the loop counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) leased: Counter,
    pub(crate) tokens: Counter,
    pub(crate) images: Counter,
    pub(crate) pairs: Counter,
    pub(crate) no_pairs: Counter,
    pub(crate) failures: Counter,
    pub(crate) refused: Counter,
    pub(crate) adoptions: Counter,
    /// Seconds in which no task could be leased.
    pub(crate) waited: Sum,
    stages: Stages,
    said: Mutex<Said>,
}

/// What changes back and forth.
#[derive(Debug, Default)]
struct Said {
    version: Option<PolicyVersion>,
    waiting: bool,
    complete: bool,
    /// Attempts that were repeated, by the role of the peer.
    retries: Vec<(&'static str, Counter)>,
}

/// How long the stages of rollouts take.
#[derive(Debug)]
struct Stages(Vec<(&'static str, Histogram)>);

/// The stage that is no sample's: newer weights are taken over between two batches.
pub(crate) const ADOPT: &str = "adopt";

impl Default for Stages {
    fn default() -> Self {
        let of_samples = [
            Stage::Lease,
            Stage::Sample,
            Stage::Render,
            Stage::Score,
            Stage::Submit,
        ];
        let names = of_samples.map(Stage::name).into_iter().chain([ADOPT]);
        Self(names.map(|name| (name, observe::seconds())).collect())
    }
}

impl Instruments {
    /// Puts the page into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// A stage of these samples is over.
    pub(crate) fn over(&self, stage: Stage, took: Duration, samples: impl IntoIterator<Item = TraceId>) {
        self.took(stage.name(), took);
        stage.over(took, samples);
    }

    /// A stage of this name took so long.
    pub(crate) fn took(&self, stage: &'static str, took: Duration) {
        let known = self.counts.stages.0.iter().find(|(name, _)| *name == stage);
        if let Some((_, seconds)) = known {
            seconds.observe(took.as_secs_f64());
        }
    }

    /// From now on this is the learner.
    pub(crate) fn joined(&self, learner: &Arc<LearnerClient>) {
        // An actor joins once.
        let _same = self.learner.set(learner.clone());
        self.watch_retries("learner", learner.peer().retries());
    }

    /// From now on the repeated attempts at this peer are told.
    pub(crate) fn watch_retries(&self, role: &'static str, retries: Counter) {
        self.counts.said().retries.push((role, retries));
    }

    /// This version is sampled from.
    pub(crate) fn samples_from(&self, version: PolicyVersion) {
        self.counts.adoptions.inc();
        self.counts.said().version = Some(version);
    }

    /// Whether something keeps the actor from leasing.
    pub(crate) fn waits(&self, waiting: bool) {
        self.counts.said().waiting = waiting;
    }

    /// The learner has said that the run is complete.
    pub(crate) fn run_is_complete(&self) {
        self.counts.said().complete = true;
    }
}

impl Counts {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Instruments {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        page::write(
            &mut Page::from(encoder),
            &self.counts,
            self.learner.get().map(|learner| &**learner),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_metrics_md_has_every_name_of_the_page_and_no_other() {
        let instruments = Instruments::default();
        instruments.over(Stage::Sample, Duration::from_millis(5), [TraceId::of(1, 2)]);
        let mut registry = Registry::default();
        instruments.register(&mut registry);
        let page = observe::documented_page(&registry, "Actor");
        assert!(
            page.contains("rollout_stage_seconds_count{stage=\"sample\"} 1"),
            "{page}"
        );
    }
}

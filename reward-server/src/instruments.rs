//! What a reward-server tells whoever watches its process: its pulse, and a page of numbers read when somebody asks. Names, units
//! and meaning are in docs/metrics.md; a test compares the two.

use crate::reload::ReloadState;
use crate::serving::Models;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::histogram::Histogram;
use proto::observe::{self, Page, Pulse, Registry};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A reward-server's instruments. Clones are the same ones; where nobody reads them they cost an addition each.
#[derive(Clone)]
pub struct Instruments {
    /// Whether it serves, and that it comes along until it does.
    pub pulse: Pulse,
    /// How long requests took, from when they were let in to their answer.
    pub(crate) request_seconds: Histogram,
    served: Arc<OnceLock<Served>>,
    /// Whether the run is complete.
    complete: Arc<AtomicBool>,
}

/// What the page is read from.
struct Served {
    models: Arc<Models>,
    reloads: Arc<ReloadState>,
}

impl Default for Instruments {
    fn default() -> Self {
        Self {
            pulse: Pulse::default(),
            request_seconds: observe::seconds(),
            served: Arc::default(),
            complete: Arc::default(),
        }
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Instruments").finish_non_exhaustive()
    }
}

impl Instruments {
    /// Puts the page into `registry`. Before a model serves the page is empty.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// From now on the page is that of these models.
    pub(crate) fn watch(&self, models: &Arc<Models>, reloads: &Arc<ReloadState>) {
        let (models, reloads) = (models.clone(), reloads.clone());
        // A process serves once.
        let _same = self.served.set(Served { models, reloads });
    }

    /// The run is complete.
    pub(crate) fn run_is_complete(&self) {
        self.complete.store(true, Relaxed);
    }
}

impl Collector for Instruments {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(Served { models, reloads }) = self.served.get() else {
            return Ok(());
        };
        let page = &mut Page::from(encoder);
        requests(page, models, &self.request_seconds)?;
        groups(page, models)?;
        batches(page, models)?;
        served(page, models, reloads)?;
        let complete = "1 once the learner has said that the run is complete.";
        let is_complete = f64::from(u8::from(self.complete.load(Relaxed)));
        page.gauge("learner_run_complete", complete, is_complete)
    }
}

fn requests(page: &mut Page<'_>, models: &Models, seconds: &Histogram) -> fmt::Result {
    let budget = &models.budget;
    let time = "Time of a request, from when it was let in to its answer.";
    page.histogram("reward_request_seconds", time, seconds)?;
    let open = "Requests that are worked on.";
    page.gauge("reward_requests_open", open, budget.requests() as f64)?;
    let held = "Bytes of requests that are held.";
    page.gauge("reward_held_bytes", held, budget.bytes() as f64)?;
    let shed = "Requests turned away for want of room.";
    page.counter("reward_requests_shed", shed, budget.shed())
}

fn groups(page: &mut Page<'_>, models: &Models) -> fmt::Result {
    let answers = models.answers.counts();
    let waiting = "Groups that wait for their scores, those that are computed now included.";
    page.gauge("reward_groups_waiting", waiting, answers.waiting as f64)?;
    let computed = "Groups that the model was asked about.";
    page.counter("reward_groups_computed", computed, answers.computed)?;
    page.counter(
        "reward_cache_hits",
        "Groups whose scores were remembered.",
        answers.hits,
    )?;
    let joined = "Groups that were being computed for somebody else.";
    page.counter("reward_groups_joined", joined, answers.joined)?;
    let abandoned = "Groups dropped before they were computed, because whoever had asked was gone.";
    page.counter("reward_groups_abandoned", abandoned, answers.abandoned)?;
    page.gauge(
        "reward_cache_groups",
        "Groups whose scores are kept.",
        answers.kept as f64,
    )?;
    page.gauge(
        "reward_cache_bytes",
        "What that takes, in bytes.",
        answers.kept_bytes as f64,
    )
}

fn batches(page: &mut Page<'_>, models: &Models) -> fmt::Result {
    let batches = &models.batches;
    let groups = "Groups of a pass through the model.";
    page.histogram("reward_batch_groups", groups, &batches.groups)?;
    page.histogram(
        "reward_batch_seconds",
        "Time of a pass through the model.",
        &batches.seconds,
    )?;
    let shared = "Passes with groups of several requests.";
    page.counter("reward_batches_shared", shared, batches.shared.load(Relaxed))?;
    let seconds = "Seconds in which the model has worked.";
    page.counter("reward_compute_seconds", seconds, batches.spent.get())
}

fn served(page: &mut Page<'_>, models: &Models, reloads: &ReloadState) -> fmt::Result {
    let serving = models.current();
    let named = serving
        .ok()
        .map(|serving| (serving.digest.to_string(), serving.form.clone()));
    let labels = named
        .as_ref()
        .map(|(digest, form)| [("digest", digest.as_str()), ("form", form.as_str())]);
    let info = "1 for the model that requests are given to now.";
    page.gauges("reward_model_info", info, labels.map(|labels| (labels, 1.0)))?;
    let (reloaded, failure) = reloads.told();
    page.counter(
        "reward_model_reloads",
        "How often another model took over.",
        reloaded,
    )?;
    let failed = "1 when the newest content of the model directory is not served.";
    page.gauge(
        "reward_model_reload_failed",
        failed,
        f64::from(u8::from(failure.is_some())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RewardServerConfig;

    #[test]
    fn docs_metrics_md_has_every_name_of_the_page_and_no_other() {
        let instruments = Instruments::default();
        let models = Arc::new(Models::new(&RewardServerConfig::default(), false));
        instruments.watch(&models, &Arc::default());
        let mut registry = Registry::default();
        instruments.register(&mut registry);
        observe::documented_page(&registry, "Reward-server");
    }
}

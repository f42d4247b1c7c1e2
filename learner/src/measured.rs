//! Numbers of a run that nothing else counts: they are of this start of its learner, and nothing depends on them.

use crate::metrics::StepMetrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use proto::observe;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A sum that is not counted in whole numbers.
pub(crate) type Sum = Counter<f64, AtomicU64>;

/// What was measured beside the run's own books.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Images of the outcomes that were taken in.
    pub(crate) images: Counter,
    /// Seconds of the learner's training thread in optimizer steps, reference passes and all that is between.
    pub(crate) training_seconds: Sum,
    /// Seconds of the actors' compute threads, as they tell.
    pub(crate) actor_seconds: Sum,
    /// Seconds of reward models' time, as the actors tell.
    pub(crate) scoring_seconds: Sum,
    /// How long records took to become durable, from when the writer took them.
    pub(crate) flush_seconds: Histogram,
    /// How long optimizer steps took.
    pub(crate) step_seconds: Histogram,
    last_step: Mutex<LastStep>,
}

/// The last optimizer step: its number in the run, and what it measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastStep {
    pub(crate) number: u64,
    pub(crate) metrics: BTreeMap<&'static str, f64>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            images: Counter::default(),
            training_seconds: Sum::default(),
            actor_seconds: Sum::default(),
            scoring_seconds: Sum::default(),
            flush_seconds: observe::seconds(),
            step_seconds: observe::seconds(),
            last_step: Mutex::default(),
        }
    }
}

impl Measured {
    /// The run goes on behind so many optimizer steps of earlier starts.
    pub(crate) fn goes_on_behind(&self, steps: u64) {
        self.last_step
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .number = steps;
    }

    /// An optimizer step was taken.
    pub(crate) fn stepped(&self, number: u64, metrics: &StepMetrics, took: Duration) {
        self.step_seconds.observe(took.as_secs_f64());
        let metrics = metrics.values().clone();
        *self.last_step.lock().unwrap_or_else(PoisonError::into_inner) = LastStep { number, metrics };
    }

    /// The last step; number 0 before the run had one, and nothing measured before this start had one.
    pub(crate) fn last_step(&self) -> LastStep {
        self.last_step
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_start_counts_the_steps_that_it_goes_on_from_before_its_first_one() {
        let measured = Measured::default();
        measured.goes_on_behind(24);
        let last = measured.last_step();
        assert_eq!((last.number, last.metrics.len()), (24, 0));
    }
}

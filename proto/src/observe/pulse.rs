//! Whether a role takes part in its run, and that it comes along until it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::watch;

/// A role's word to its process. Clones are the same pulse.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    ready: Arc<watch::Sender<bool>>,
    beats: Arc<AtomicU64>,
}

impl Pulse {
    /// Says whether the role takes part: it can be asked, and what it needs is there. At first it does not.
    pub fn set_ready(&self, ready: bool) {
        self.ready
            .send_if_modified(|before| std::mem::replace(before, ready) != ready);
    }

    /// What was said last, and every change.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Something has come along: bytes of a model, a step of starting up.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Relaxed);
    }

    /// How often something has.
    pub fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// A report of progress that beats whenever it is made.
    pub fn with_progress(&self, mut report: impl FnMut(u64, u64) + Send) -> impl FnMut(u64, u64) + Send {
        let pulse = self.clone();
        move |done, all| {
            pulse.beat();
            report(done, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_pulse_and_nothing_is_ready_before_it_says_so() {
        let pulse = Pulse::default();
        let mut readiness = pulse.readiness();
        assert!(!*readiness.borrow_and_update());
        pulse.clone().set_ready(false);
        assert!(
            !readiness.has_changed().unwrap(),
            "what is said again is no change"
        );
        pulse.clone().set_ready(true);
        assert!(readiness.has_changed().unwrap() && *readiness.borrow());
        pulse.with_progress(|_, _| {})(1, 2);
        assert_eq!(pulse.beats(), 1);
    }
}

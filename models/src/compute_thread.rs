//! One OS thread owns one model: the door between the async runtime and the tensors.
//!
//! Jobs are closures over the owned state. They wait in a bounded queue, run one after the other, and answer
//! through a oneshot channel. A caller that finds the queue full waits in its own task (a semaphore counts
//! the places), so the runtime's threads never block. A job carries its caller's tracing span. A job that
//! panics fails alone.
//!
//! The thread is inside a rayon pool of its own, as large as the global one, so that two models of a process
//! do not wait for each other's kernels. Not here: what the jobs are, and batching several callers into one
//! job.

mod error;
mod job;

pub use error::ComputeError;

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{self, Receiver, Sender};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, oneshot};

use self::job::{Job, prepare};

/// A thread that owns an `S`, and the queue in front of it.
///
/// Dropping it waits for the running job; jobs still queued have lost their callers by then and are skipped.
/// Drop it off the runtime (`spawn_blocking`) where jobs are long, and never let a job own the thread it runs
/// on.
pub struct ComputeThread<S> {
    name: String,
    places: Arc<Semaphore>,
    jobs: Option<Sender<Job<S>>>,
    thread: Option<JoinHandle<()>>,
}

impl<S: 'static> ComputeThread<S> {
    /// Starts a thread, builds its state there with `init` and waits for that: call it off the runtime.
    ///
    /// At most `queue_bound` jobs (at least 1) wait while one runs. `S` need not be `Send`: it never leaves
    /// its thread.
    ///
    /// # Errors
    /// What `init` returned; [`ComputeError::Start`] when the system gives no thread;
    /// [`ComputeError::Panicked`] when `init` panicked.
    #[track_caller]
    pub fn spawn<E>(
        name: impl Into<String>,
        queue_bound: usize,
        init: impl FnOnce() -> Result<S, E> + Send + 'static,
    ) -> Result<ComputeThread<S>, E>
    where
        E: From<ComputeError> + Send + 'static,
    {
        let (name, queue_bound) = (name.into(), queue_bound.max(1));
        let caller = Location::caller();
        let (jobs, queue) = channel::bounded(queue_bound);
        let (started, ready) = channel::bounded(1);
        let pool = own_pool(&name)?;
        let work = move || {
            let state = catch_unwind(AssertUnwindSafe(init))
                .unwrap_or_else(|panic| Err(ComputeError::panicked(caller, &*panic).into()));
            match state {
                Ok(state) => {
                    // The starter is waiting for it.
                    let _ = started.send(Ok(()));
                    run_jobs(state, &queue);
                }
                Err(error) => _ = started.send(Err(error)),
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || pool.install(work))
            .map_err(|error| ComputeError::start(&name, &error))?;
        let mut compute = ComputeThread {
            name,
            places: Arc::new(Semaphore::new(queue_bound)),
            jobs: None,
            thread: Some(thread),
        };
        match ready.recv() {
            Ok(Ok(())) => compute.jobs = Some(jobs),
            Ok(Err(error)) => return Err(error),
            Err(channel::RecvError) => return Err(compute.stopped().into()),
        }
        Ok(compute)
    }

    /// Runs `job` on the thread, behind those already queued, and returns what it returned.
    ///
    /// Dropping the future is safe at any time: a job still queued is then skipped, a running one finishes
    /// unheard.
    ///
    /// # Errors
    /// [`ComputeError::Panicked`] when the job panicked.
    #[track_caller]
    pub fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, ComputeError>> + Send {
        let (answer, answered) = oneshot::channel();
        let run = prepare(Location::caller(), answer, job);
        let (name, places, jobs) = (&self.name, &self.places, &self.jobs);
        async move {
            let stopped = || ComputeError::Stopped { name: name.clone() };
            let place = places.clone().acquire_owned().await.map_err(|_| stopped())?;
            // With a place in hand the channel cannot be full.
            jobs.as_ref()
                .and_then(|jobs| jobs.try_send(Job { run, place }).ok())
                .ok_or_else(stopped)?;
            answered.await.map_err(|_| stopped())?
        }
    }

    /// [`call`](Self::call) for threads outside any async runtime: waits by blocking.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    #[track_caller]
    pub fn call_blocking<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Result<R, ComputeError> {
        futures::executor::block_on(self.call(job))
    }

    fn stopped(&self) -> ComputeError {
        ComputeError::Stopped {
            name: self.name.clone(),
        }
    }
}

impl<S> Drop for ComputeThread<S> {
    fn drop(&mut self) {
        // Closing the queue ends the thread's loop.
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        if thread.join().is_err() {
            tracing::error!(thread = self.name, "compute thread panicked outside a job");
        }
    }
}

impl<S> fmt::Debug for ComputeThread<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ComputeThread")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn own_pool(name: &str) -> Result<ThreadPool, ComputeError> {
    let thread_name = name.to_owned();
    ThreadPoolBuilder::new()
        .num_threads(rayon::current_num_threads())
        .thread_name(move |index| format!("{thread_name}-{index}"))
        .build()
        .map_err(|error| ComputeError::start(name, &error))
}

fn run_jobs<S>(mut state: S, queue: &Receiver<Job<S>>) {
    while let Ok(Job { run, place }) = queue.recv() {
        drop(place);
        run(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Mutex;

    use futures::{FutureExt, poll};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn thread(queue_bound: usize) -> ComputeThread<Vec<u32>> {
        ComputeThread::spawn("test", queue_bound, || Ok::<_, ComputeError>(vec![])).unwrap()
    }

    /// Occupies the thread until the returned sender is used or dropped.
    async fn busy(
        compute: &ComputeThread<Vec<u32>>,
    ) -> (Sender<()>, impl Future<Output = Result<(), ComputeError>>) {
        let (release, wait) = channel::bounded::<()>(1);
        let (running, runs) = oneshot::channel();
        let mut job = Box::pin(compute.call(move |_| {
            running.send(()).unwrap();
            let _ = wait.recv();
        }));
        assert!(poll!(&mut job).is_pending());
        runs.await.unwrap();
        (release, job)
    }

    #[tokio::test]
    async fn jobs_run_in_order_on_one_thread_that_owns_the_state() {
        let compute = thread(8);
        let ids = futures::future::join_all((0..20).map(|i| {
            compute.call(move |seen| {
                seen.push(i);
                std::thread::current().id()
            })
        }))
        .await;
        let ids: Vec<_> = ids.into_iter().map(Result::unwrap).collect();
        assert!(
            ids.iter()
                .all(|id| *id == ids[0] && *id != std::thread::current().id())
        );
        assert_eq!(
            compute.call(|seen| seen.clone()).await.unwrap(),
            (0..20).collect::<Vec<_>>()
        );
    }

    #[test]
    fn state_need_not_be_send_and_blocking_callers_are_served() {
        let compute = ComputeThread::spawn("rc", 1, || Ok::<_, ComputeError>(Rc::new(41))).unwrap();
        assert_eq!(compute.call_blocking(|state| **state + 1).unwrap(), 42);
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_job_and_says_where_it_was_asked_for() {
        let compute = thread(4);
        let error = compute
            .call(|_| -> u32 { panic!("bad shape {}", 3) })
            .await
            .unwrap_err();
        let ComputeError::Panicked { job, message } = error else {
            panic!("{error}")
        };
        assert!(job.contains("compute_thread.rs:"), "{job}");
        assert_eq!(message, "bad shape 3");
        assert_eq!(compute.call(|seen| seen.len()).await.unwrap(), 0);
    }

    #[test]
    fn what_goes_wrong_in_init_comes_out_of_spawn() {
        #[derive(Debug, thiserror::Error)]
        enum Failed {
            #[error("no model")]
            NoModel,
            #[error(transparent)]
            Compute(#[from] ComputeError),
        }
        let failed = ComputeThread::<u32>::spawn("x", 1, || Err(Failed::NoModel)).unwrap_err();
        assert!(matches!(failed, Failed::NoModel));
        let panicked = ComputeThread::<u32>::spawn("x", 1, || -> Result<u32, Failed> { panic!("no luck") });
        assert!(panicked.unwrap_err().to_string().ends_with("panicked: no luck"));
    }

    #[tokio::test]
    async fn a_full_queue_makes_callers_wait_without_blocking_and_serves_them_in_order() {
        let compute = thread(2);
        let (release, running) = busy(&compute).await;
        let mut waiting: Vec<_> = (0..5)
            .map(|i| Box::pin(compute.call(move |seen| seen.push(i))))
            .collect();
        for job in &mut waiting {
            assert!(poll!(job).is_pending());
        }
        assert_eq!(compute.jobs.as_ref().unwrap().len(), 2);
        release.send(()).unwrap();
        running.await.unwrap();
        for job in waiting {
            job.await.unwrap();
        }
        assert_eq!(compute.call(|seen| seen.clone()).await.unwrap(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_caller_may_go_at_any_time() {
        let compute = thread(1);
        let (release, running) = busy(&compute).await;
        let mut queued = compute.call(|seen| seen.push(1)).boxed();
        let mut outside = compute.call(|seen| seen.push(2)).boxed();
        let mut patient = compute.call(|seen| seen.push(3)).boxed();
        for job in [&mut queued, &mut outside, &mut patient] {
            assert!(poll!(job).is_pending());
        }
        // The running job, the queued one and one still waiting for a place lose their callers.
        drop((running, queued, outside));
        drop(release);
        patient.await.unwrap();
        assert_eq!(compute.call(|seen| seen.clone()).await.unwrap(), [3]);
    }

    #[test]
    fn dropping_waits_for_the_running_job() {
        struct OnDrop(Arc<Mutex<Vec<&'static str>>>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.lock().unwrap().push("state dropped");
            }
        }
        let log = Arc::new(Mutex::new(vec![]));
        let state = OnDrop(log.clone());
        let compute = ComputeThread::spawn("x", 1, move || Ok::<_, ComputeError>(state)).unwrap();
        let (running, runs) = channel::bounded(1);
        let mut job = compute
            .call(move |state| {
                running.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
                state.0.lock().unwrap().push("job done");
            })
            .boxed();
        assert!((&mut job).now_or_never().is_none());
        runs.recv().unwrap();
        drop(job);
        drop(compute);
        assert_eq!(*log.lock().unwrap(), ["job done", "state dropped"]);
    }

    #[test]
    fn every_compute_thread_has_a_rayon_pool_of_its_own() {
        let pool_threads = |compute: &ComputeThread<_>| {
            compute
                .call_blocking(|_| rayon::broadcast(|_| std::thread::current().id()))
                .unwrap()
        };
        let (first, second) = (thread(1), thread(1));
        let own = first.call_blocking(|_| std::thread::current().id()).unwrap();
        let pool = pool_threads(&first);
        assert_eq!(pool.len(), rayon::current_num_threads());
        assert!(pool.contains(&own));
        assert!(pool_threads(&second).iter().all(|id| !pool.contains(id)));
    }

    #[test]
    fn a_job_runs_in_the_span_of_its_caller() {
        let entered = Entered::default();
        let threads = entered.0.clone();
        let compute = thread(1);
        let own = compute.call_blocking(|_| std::thread::current().id()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(entered), || {
            let span = tracing::info_span!("rollout");
            span.in_scope(|| compute.call_blocking(|_| ())).unwrap();
        });
        assert_eq!(*threads.lock().unwrap(), [std::thread::current().id(), own]);
    }

    /// Remembers the threads on which any span was entered.
    #[derive(Default)]
    struct Entered(Arc<Mutex<Vec<std::thread::ThreadId>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Entered {
        fn on_enter(&self, _: &tracing::span::Id, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(std::thread::current().id());
        }
    }
}

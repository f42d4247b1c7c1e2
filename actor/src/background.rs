//! Threads that stand back for others. An actor receives, verifies, builds and asks new weights on them.
//!
//! Where there are cores to spare they are as quick as any. Where sampling takes every core, an actor's get about a tenth of one each, so
//! that its steps go on as they did.

use crate::ActorError;
use models::compute_thread::{ComputeError, ComputeThread};
use std::future::Future;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// What an actor adds to the niceness of the threads that new weights come on. Linux weighs 10 about a tenth of 0 ([`sched(7)`]: 1.25 for
/// each).
///
/// [`sched(7)`]: https://man7.org/linux/man-pages/man7/sched.7.html
pub(crate) const OF_WEIGHTS: i32 = 10;

/// Threads that wait for networks.
const WORKERS: usize = 2;

/// Computations that may wait for the one that runs; there is one caller.
const QUEUE_BOUND: usize = 1;

/// An async runtime on such threads.
pub struct Background {
    handle: Handle,
    /// `None` when it is somebody else's.
    own: Option<Runtime>,
}

impl Background {
    /// Starts the threads, so much nicer than the calling one: 1 to 19.
    ///
    /// # Errors
    /// [`ActorError::Compute`] when the system gives none.
    pub fn start(nicer: i32) -> Result<Self, ActorError> {
        let niceness = niceness() + nicer;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("background")
            .on_thread_start(move || stand_back(niceness))
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| ComputeError::Start {
            name: "background".into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            handle: runtime.handle().clone(),
            own: Some(runtime),
        })
    }

    /// The runtime that this is called in, which stands back for nothing: for whoever samples nothing.
    pub(crate) fn shared() -> Self {
        Self {
            handle: Handle::current(),
            own: None,
        }
    }

    /// Whether it has threads of its own.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Makes something whose tasks, if it starts any, are to run here.
    pub(crate) fn make<T>(&self, make: impl FnOnce() -> T) -> T {
        let _inside = self.handle.enter();
        make()
    }

    /// Has a task run here.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(task)
    }

    /// What lets go of large things on these threads: to give some hundred megabytes back to the system takes a while.
    pub(crate) fn disposal(&self) -> Disposal {
        Disposal(self.handle.clone())
    }

    /// A thread for computing, with a pool of its own, which stands back as well.
    ///
    /// # Errors
    /// [`ActorError::Compute`] when the system gives none.
    pub(crate) async fn compute_thread(&self) -> Result<ComputeThread<()>, ActorError> {
        // Threads are as nice as those that start them.
        let start = || ComputeThread::spawn("weights", QUEUE_BOUND, || Ok::<_, ComputeError>(()));
        let started = self.handle.spawn_blocking(start).await;
        let started = started.map_err(|source| ActorError::Task {
            task: "starting a thread",
            source,
        })?;
        Ok(started?)
    }
}

/// Lets go of things on threads that stand back.
#[derive(Debug, Clone)]
pub(crate) struct Disposal(Handle);

impl Disposal {
    /// Returns at once.
    pub(crate) fn let_go_of(&self, thing: impl Send + 'static) {
        // Nobody waits for it. Once the runtime is shut down it is let go of here.
        let _letting_go = self.0.spawn_blocking(move || drop(thing));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // What is under way is of no use to anybody any more, and to wait would hold up the runtime that this is dropped in.
        if let Some(runtime) = self.own.take() {
            runtime.shutdown_background();
        }
    }
}

/// How nice the calling thread is.
fn niceness() -> i32 {
    #[cfg(target_os = "linux")]
    let niceness = rustix::process::getpriority_process(None).unwrap_or(0);
    #[cfg(not(target_os = "linux"))]
    let niceness = 0;
    niceness
}

/// Makes the calling thread so nice. Elsewhere than on Linux niceness is a process's.
fn stand_back(niceness: i32) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::debug!(%error, "background threads are as nice as all others");
    }
    #[cfg(not(target_os = "linux"))]
    let _nobody_elses = niceness;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Tells how nice the thread is that lets go of it.
    struct Noting(Option<tokio::sync::oneshot::Sender<i32>>);

    impl Drop for Noting {
        fn drop(&mut self) {
            let noted = self.0.take().expect("it is dropped once");
            noted.send(niceness()).expect("somebody waits for it");
        }
    }

    #[tokio::test]
    async fn what_runs_in_the_background_stands_back_and_nothing_else_does() {
        let ours = niceness();
        let background = Background::start(OF_WEIGHTS).unwrap();
        let task = background.spawn(async {
            let job = tokio::task::spawn_blocking(niceness).await.unwrap();
            (niceness(), job)
        });
        let nicer = (ours + OF_WEIGHTS).min(19);
        assert_eq!(task.await.unwrap(), (nicer, nicer));
        let compute = background.compute_thread().await.unwrap();
        assert_eq!(compute.call(|_| niceness()).await.unwrap(), nicer);
        assert_eq!(niceness(), ours);
        let (noted, seen) = tokio::sync::oneshot::channel();
        background.disposal().let_go_of(Noting(Some(noted)));
        assert_eq!(seen.await.unwrap(), nicer);
        tokio::task::spawn_blocking(move || drop(compute)).await.unwrap();
    }
}

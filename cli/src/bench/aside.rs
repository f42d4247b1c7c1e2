//! Threads that take nothing from others: for whoever shares this machine only because it is measured here, and would have one of its own.

use anyhow::Context as _;
use std::future::Future;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// As nice as a thread can be. Elsewhere than on Linux niceness is a process's, and these are as any others.
#[cfg(target_os = "linux")]
const NICEST: i32 = 19;

/// A runtime on such threads.
pub(super) struct Aside(Option<Runtime>);

impl Aside {
    /// Starts them.
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("aside")
            .on_thread_start(stand_back)
            .enable_all()
            .build();
        Ok(Self(Some(runtime.context("cannot start threads")?)))
    }

    /// Has a task run there.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn stand_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICEST) {
        tracing::debug!(%error, "the learner takes from the actor that is measured");
    }
}

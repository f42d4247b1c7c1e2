//! Newer weights while the loop goes on: announcements are followed, adapters fetched, checked and built beside the policy
//! that is being sampled from. The loop takes the newest one between two batches.
//!
//! Nothing whose bytes are not those of the manifest is accepted (I5): that ends the actor. A version that the learner no
//! longer keeps is passed over for the newest. Which versions are announced, and by whom, is `announcements.rs`'s affair.

use crate::{
    ActorError,
    announcements::{Announcements, News},
    background::Background,
    weight_source::{Adapted, BuildWeights, Mismatch, WeightSource},
};
use common::PolicyVersion;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tracing::Instrument;

/// How long the background task may take to be quiet. It is so at once, unless it waits for what it computes.
const QUIET_WITHIN: Duration = Duration::from_secs(1);

/// The background task that keeps up with the learner.
pub(crate) struct WeightSync<W> {
    progress: watch::Receiver<Progress<W>>,
    mismatch: Mismatch,
    task: Option<JoinHandle<Result<(), ActorError>>>,
}

/// How far the background task has come.
struct Progress<W> {
    newest: Option<Arc<Adapted<W>>>,
    /// The learner has closed the stream of announcements and not opened another one: the run has ended, or the learner
    /// stops. A stream that broke is not closed.
    closed: bool,
    /// The version announced last is the run's last one, whether it is ready or not: the run is complete.
    over: bool,
}

impl<W: Send + Sync + 'static> WeightSync<W> {
    /// Follows the learner from the version `at_hand` on, in the background.
    pub(crate) fn start(
        source: WeightSource<impl BuildWeights<Weights = W>>,
        at_hand: &Adapted<W>,
        background: &Background,
    ) -> Self {
        let (sender, progress) = watch::channel(Progress {
            newest: None,
            closed: false,
            over: at_hand.last,
        });
        let span = tracing::info_span!("weights", trace_id = %source.learner.trace());
        let mismatch = source.mismatch.clone();
        let following = follow(source, at_hand.version, sender);
        let task = Some(background.spawn(following.instrument(span)));
        Self {
            progress,
            mismatch,
            task,
        }
    }

    /// The newest version that is ready, if one has become ready since the start.
    ///
    /// # Errors
    /// What ended the background task.
    pub(crate) async fn newest(&mut self) -> Result<Option<Arc<Adapted<W>>>, ActorError> {
        // The task drops its end of the channel when it ends.
        let ended = self.progress.has_changed().is_err();
        if let Some(task) = self.task.take_if(|_| ended) {
            task.await.map_err(|source| ActorError::Task {
                task: "weight sync",
                source,
            })??;
        }
        Ok(self.progress.borrow_and_update().newest.clone())
    }

    /// Returns when [`newest`](Self::newest) may have something to say.
    pub(crate) async fn changed(&mut self) {
        if self.progress.changed().await.is_err() && self.task.is_none() {
            pending().await
        }
    }

    /// The version that does not take effect, which [`newest`](Self::newest) tells once the learner has been told of it.
    pub(crate) fn mismatch(&self) -> Option<ActorError> {
        let &(version, report) = self.mismatch.get()?;
        Some(ActorError::Canary { version, report })
    }

    /// Whether the learner has stopped announcing.
    pub(crate) fn closed(&self) -> bool {
        self.task.is_none() || self.progress.borrow().closed
    }

    /// Whether the learner has announced the last version.
    pub(crate) fn run_is_over(&self) -> bool {
        self.progress.borrow().over
    }

    /// Returns when that is so.
    pub(crate) fn until_run_is_over(&self) -> impl Future<Output = ()> + Send + use<W> {
        until(self.progress.clone(), true)
    }

    /// Returns when that has been so for some time on end, from now at the earliest: a later start of the learner may go on.
    pub(crate) fn run_is_over_for(&self, time: Duration) -> impl Future<Output = ()> + Send + use<W> {
        let progress = self.progress.clone();
        async move {
            loop {
                until(progress.clone(), true).await;
                if timeout(time, until(progress.clone(), false)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Ends the background task: nobody is called any more. What it computes just then goes on.
    pub(crate) async fn stop(&mut self) {
        if let Some(task) = &mut self.task {
            task.abort();
            if timeout(QUIET_WITHIN, task).await.is_ok() {
                self.task = None;
            }
        }
    }

    /// Waits until nothing is computed any more either, once it was stopped.
    pub(crate) async fn stopped(self) {
        if let Some(task) = self.task {
            let _aborted = task.await;
        }
    }
}

/// Returns when the run is `over`, or is not.
async fn until<W>(mut progress: watch::Receiver<Progress<W>>, over: bool) {
    let is_so = progress.wait_for(|progress| progress.over == over).await.is_ok();
    if !is_so {
        // What has ended the background task before is told by `newest`.
        pending().await
    }
}

/// Follows announcements until the last version is ready.
async fn follow<B: BuildWeights>(
    mut source: WeightSource<B>,
    version: PolicyVersion,
    progress: watch::Sender<Progress<B::Weights>>,
) -> Result<(), ActorError> {
    let learner = source.learner.clone();
    let mut announcements = Announcements::to_a_relay(&learner, version);
    loop {
        let manifest = match announcements.next().await? {
            News::Opened => {
                progress.send_if_modified(|progress| std::mem::take(&mut progress.closed));
                continue;
            }
            News::Newer(manifest) => *manifest,
            News::Closed => {
                progress.send_modify(|progress| progress.closed = true);
                continue;
            }
        };
        progress.send_if_modified(|progress| {
            std::mem::replace(&mut progress.over, manifest.last) != manifest.last
        });
        let adapted = match source.build(manifest).await {
            Err(error) if error.is_not_found() => source.newest().await?,
            built => built?,
        };
        announcements.is_known(adapted.version);
        let last = adapted.last;
        progress.send_replace(Progress {
            newest: Some(adapted),
            closed: false,
            over: last,
        });
        if last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;

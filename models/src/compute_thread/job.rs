//! A job on its way to the thread: what is done around the closure that the caller gave.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::error::ComputeError;

/// What waits in the queue.
pub(super) struct Job<S> {
    pub(super) run: Box<dyn FnOnce(&mut S) + Send>,
    /// The place in the queue, given back when the job leaves it.
    pub(super) place: OwnedSemaphorePermit,
}

/// The job with everything around it: skip it if nobody waits, enter the span, catch the panic, answer.
pub(super) fn prepare<S, R: Send + 'static>(
    caller: &'static Location<'static>,
    answer: oneshot::Sender<Result<R, ComputeError>>,
    job: impl FnOnce(&mut S) -> R + Send + 'static,
) -> Box<dyn FnOnce(&mut S) + Send> {
    let span = Span::current();
    Box::new(move |state| {
        if answer.is_closed() {
            return;
        }
        let result = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| job(state))));
        // The caller may have gone while the job ran.
        let _ = answer.send(result.map_err(|panic| ComputeError::panicked(caller, &*panic)));
    })
}

//! The tasks that make a run last, the ledger's writer and the checkpoints', and the one that lets old images go.

use crate::error::LearnerError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The tasks.
pub(super) struct Keepers {
    tasks: [JoinHandle<Result<(), LearnerError>>; 2],
    expiry: JoinHandle<()>,
    failed: CancellationToken,
}

impl Keepers {
    /// Starts them. `expiry` ends by itself when the run does, and cannot fail it.
    pub(super) fn spawn(
        ledger: impl Future<Output = Result<(), LearnerError>> + Send + 'static,
        checkpoints: impl Future<Output = Result<(), LearnerError>> + Send + 'static,
        expiry: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let failed = CancellationToken::new();
        let told = failed.clone();
        let ledger = async move { ledger.await.inspect_err(|_| told.cancel()) };
        let told = failed.clone();
        let checkpoints = async move { checkpoints.await.inspect_err(|_| told.cancel()) };
        Self {
            tasks: [tokio::spawn(ledger), tokio::spawn(checkpoints)],
            expiry: tokio::spawn(expiry),
            failed,
        }
    }

    /// Returns when a writer has failed: from then on the run leaves nothing behind.
    pub(super) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Whether one of them has.
    pub(super) fn have_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Waits until both writers have written what they were given. Whoever gives them something must be done.
    ///
    /// # Errors
    /// [`LearnerError`] of the first that failed.
    pub(super) async fn finish(self) -> Result<(), LearnerError> {
        let mut result = self
            .expiry
            .await
            .map_err(|panic| LearnerError::panicked("letting old images go", &panic));
        for task in self.tasks {
            let ended = task.await;
            result = result
                .and(ended.unwrap_or_else(|panic| Err(LearnerError::panicked("keeping the run", &panic))));
        }
        result
    }
}

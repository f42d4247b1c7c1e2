//! The two tasks that make a run last: the ledger's writer and the checkpoints'.

use crate::error::LearnerError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Both tasks.
pub(super) struct Keepers {
    tasks: [JoinHandle<Result<(), LearnerError>>; 2],
    failed: CancellationToken,
}

impl Keepers {
    /// Starts them.
    pub(super) fn spawn(
        ledger: impl Future<Output = Result<(), LearnerError>> + Send + 'static,
        checkpoints: impl Future<Output = Result<(), LearnerError>> + Send + 'static,
    ) -> Self {
        let failed = CancellationToken::new();
        let told = failed.clone();
        let ledger = async move { ledger.await.inspect_err(|_| told.cancel()) };
        let told = failed.clone();
        let checkpoints = async move { checkpoints.await.inspect_err(|_| told.cancel()) };
        Self {
            tasks: [tokio::spawn(ledger), tokio::spawn(checkpoints)],
            failed,
        }
    }

    /// Returns when one of them has failed: from then on the run leaves nothing behind.
    pub(super) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Whether one of them has.
    pub(super) fn have_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Waits until both have written what they were given. Whoever gives them something must be done.
    ///
    /// # Errors
    /// [`LearnerError`] of the first that failed.
    pub(super) async fn finish(self) -> Result<(), LearnerError> {
        let mut result = Ok(());
        for task in self.tasks {
            let ended = task.await;
            result = result
                .and(ended.unwrap_or_else(|panic| Err(LearnerError::panicked("keeping the run", &panic))));
        }
        result
    }
}

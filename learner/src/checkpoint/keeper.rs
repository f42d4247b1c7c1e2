//! Checkpoints are written beside training: the training thread hands them over and goes on.

use super::{Checkpoint, Checkpoints, Unwritten};
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::run_end::EndRecord;
use failpoint::Point;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Checkpoints that may wait while one is written. A store that is slower than that holds training back, so that a restart
/// never loses more than these.
const WAITING: usize = 1;

/// The training thread's end.
pub(crate) struct Keeper {
    sender: mpsc::Sender<Handed>,
}

/// The writer's end.
pub(crate) struct Kept {
    receiver: mpsc::Receiver<Handed>,
}

struct Handed {
    checkpoint: Unwritten,
    written: oneshot::Sender<()>,
}

impl Keeper {
    /// Both ends.
    pub(crate) fn new() -> (Self, Kept) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, Kept { receiver })
    }

    /// Hands a checkpoint over; with `wait` it is written when this returns.
    ///
    /// # Errors
    /// [`LearnerError::Cancelled`] when the writer has ended; it says why.
    pub(crate) async fn keep(&self, checkpoint: Unwritten, wait: bool) -> Result<(), LearnerError> {
        let (written, done) = oneshot::channel();
        let handed = Handed { checkpoint, written };
        let handed = self.sender.send(handed).await;
        handed.map_err(|_| LearnerError::Cancelled)?;
        match wait {
            true => done.await.map_err(|_| LearnerError::Cancelled),
            false => Ok(()),
        }
    }
}

/// Writes what is handed over when all that the ledger of `control` has of it is durable, the run's `end` with its last version, and
/// removes what is older than the newest `keep`, until the other end is gone.
///
/// # Errors
/// [`LearnerError::Store`] when one cannot be written, [`LearnerError::Cancelled`] when the ledger has failed, whose writer says
/// why.
pub(crate) async fn keep(
    mut kept: Kept,
    control: Arc<ControlPlane>,
    checkpoints: Checkpoints,
    end: EndRecord,
    keep: usize,
) -> Result<(), LearnerError> {
    while let Some(Handed { checkpoint, written }) = kept.receiver.recv().await {
        let checkpoint = write_down(checkpoint).await?;
        let durable = control.ledger.durable().await;
        durable.map_err(|_| LearnerError::Cancelled)?;
        let manifest = &checkpoint.manifest;
        let (version, adapter, steps) = (manifest.version, manifest.adapter, manifest.steps);
        let is_last = manifest.start.config.is_last(version);
        checkpoints.write(checkpoint).await?;
        tracing::info!(%version, "checkpoint written");
        failpoint::reach(Point::CheckpointWritten);
        if is_last {
            end.complete(version, adapter, steps).await?;
        }
        // Nobody waits where training goes on beside.
        let _ = written.send(());
        checkpoints.retain(keep).await?;
    }
    Ok(())
}

/// The checkpoint with its bytes and digests.
async fn write_down(checkpoint: Unwritten) -> Result<Checkpoint, LearnerError> {
    let written = store::aside(checkpoint.bytes(), move || checkpoint.written()).await;
    let written = written.map_err(|panic| LearnerError::panicked("writing down a checkpoint", &panic))?;
    Ok(written?)
}

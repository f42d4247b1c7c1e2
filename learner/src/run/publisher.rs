//! A trained version on its way out: kept as a checkpoint where it is one, noted in the ledger, announced.

use super::VersionMetrics;
use crate::account::Account;
use crate::broadcast::Weights;
use crate::checkpoint::{Keeper, Manifest, Start, Unwritten};
use crate::clock;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::ledger::TrainingNote;
use models::weights::NamedTensors;
use proto::trace::Stage;
use std::sync::Arc;

/// Publishes the versions of one start.
pub(crate) struct Publisher {
    pub(crate) control: Arc<ControlPlane>,
    pub(crate) keeper: Keeper,
    /// What its checkpoints say of this start, settings included.
    pub(crate) start: Start,
}

/// What a later start goes on from beside the weights.
pub(crate) struct Resumable {
    /// The optimizer's moments.
    pub(crate) moments: NamedTensors,
    /// Where the run then stands in its ledger.
    pub(crate) account: Account,
}

impl Publisher {
    /// Publishes a version with what its training measured and was trained from. One that is `resumable` becomes a checkpoint:
    /// beside training, but a deterministic run takes back nothing that somebody has sampled from, and waits; so does every run
    /// at its last version, which sends the actors away: until the run's end is recorded too.
    ///
    /// # Errors
    /// [`LearnerError`] when nothing can be kept any more.
    pub(crate) async fn publish(
        &self,
        weights: Weights,
        metrics: VersionMetrics,
        note: TrainingNote,
        resumable: Option<Resumable>,
    ) -> Result<(), LearnerError> {
        let (version, step) = (note.version, note.step);
        let (begun, tasks) = (clock::now(), note.tasks.clone());
        // Before the checkpoint, which is not written until this is durable: what the weights of a run descend from, and what they
        // have left behind, is never unknown.
        self.control.note_trained(note);
        if let Some(Resumable { moments, account }) = resumable {
            let checkpoint = Unwritten {
                manifest: Manifest::new(version, step, account, self.start.clone()),
                adapter: weights.adapter.clone(),
                moments,
            };
            let config = &self.start.config;
            let wait = config.deterministic || config.is_last(version);
            self.keeper.keep(checkpoint, wait).await?;
        }
        let bytes = weights.adapter.len();
        tracing::info!(version = %version, bytes, metrics = ?metrics.values, "published");
        self.control.publish(metrics.version, weights, metrics);
        let took = clock::now().saturating_duration_since(begun);
        Stage::Publish.over(took, tasks.into_iter().map(|task| self.control.trace_of(task)));
        Ok(())
    }
}

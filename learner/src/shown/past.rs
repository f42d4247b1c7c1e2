//! What earlier starts of a run have recorded: read once, in order, beside the run.

use super::Shown;
use crate::error::LearnerError;
use crate::ledger::{EvaluationNote, Record, TrainingNote};
use common::PolicyVersion;
use dashboard::VersionPoint;

/// How many records are read before it is said how far that is.
const STEP: u64 = 512;

/// Reads the curves and the records before `until`.
///
/// # Errors
/// [`LearnerError::Store`] and [`LearnerError::Ledger`].
pub(super) async fn read(shown: &Shown, until: u64) -> Result<(), LearnerError> {
    shown.chronicle.reading(0, until);
    let start = shown.start().await?;
    let holds = |version| start.as_ref().is_none_or(|start| start.holds(version));
    let has_retired = |version| start.as_ref().is_some_and(|start| start.has_retired(version));
    curves(shown, holds).await?;
    evaluations(shown, holds).await?;
    let mut records = shown.journal.records(Record::keys_between(0, until)).await?;
    while let Some((_, content)) = records.next().await? {
        let record = Record::read(&content).map_err(|source| shown.damaged(source))?;
        let creative = shown.creative(&record);
        match creative.version.is_some_and(has_retired) {
            true => shown.chronicle.add_retired(creative),
            false => shown.chronicle.add(creative),
        }
        if record.sequence.is_multiple_of(STEP) {
            shown.chronicle.reading(record.sequence, until);
        }
        // Thousands of records may lie in one block of the journal: reading them waits for nothing.
        tokio::task::yield_now().await;
    }
    shown.chronicle.reading(until, until);
    Ok(())
}

/// What the versions measured that this start's weights have come through.
async fn curves(shown: &Shown, holds: impl Fn(PolicyVersion) -> bool) -> Result<(), LearnerError> {
    let mut notes = shown.journal.records(TrainingNote::keys()).await?;
    while let Some((_, content)) = notes.next().await? {
        let TrainingNote { version, metrics, .. } =
            TrainingNote::read(&content).map_err(|source| shown.damaged(source))?;
        if holds(version) && !metrics.is_empty() {
            shown.chronicle.add_version(VersionPoint {
                version,
                values: metrics,
            });
        }
    }
    Ok(())
}

/// What those versions do on held-out products.
async fn evaluations(shown: &Shown, holds: impl Fn(PolicyVersion) -> bool) -> Result<(), LearnerError> {
    let mut notes = shown.journal.records(EvaluationNote::keys()).await?;
    while let Some((_, content)) = notes.next().await? {
        let EvaluationNote { version, values } =
            EvaluationNote::read(&content).map_err(|source| shown.damaged(source))?;
        if holds(version) {
            shown.chronicle.add_evaluation(VersionPoint { version, values });
        }
    }
    Ok(())
}

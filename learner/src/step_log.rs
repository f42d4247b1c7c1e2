//! A run's optimizer steps as they are taken: an event each, and where it is asked for a line of JSON in a file and scalars for
//! TensorBoard; and what the process shows of the last one.

use crate::error::LearnerError;
use crate::measured::Measured;
use crate::metrics::{Metrics, StepMetrics};
use crate::tensorboard::Board;
use common::PolicyVersion;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where steps are recorded.
#[derive(Debug, Default)]
pub(crate) struct StepLog {
    file: Option<(PathBuf, File)>,
    board: Arc<Board>,
    measured: Arc<Measured>,
}

/// One optimizer step; the metrics stand beside the other two in its JSON.
#[derive(Debug, Serialize)]
pub(crate) struct StepRecord<'a> {
    /// Its number in the run, from 1.
    pub(crate) step: u64,
    /// The version it leads to.
    pub(crate) version: PolicyVersion,
    /// What it measured.
    #[serde(flatten)]
    pub(crate) metrics: &'a StepMetrics,
    /// How long it took.
    #[serde(skip)]
    pub(crate) took: Duration,
}

impl StepLog {
    /// Records into `path`, behind the lines of the `steps` that an earlier start has left there, replacing the others; without
    /// a path there are events alone.
    ///
    /// # Errors
    /// [`LearnerError::File`] when the file cannot be read or made.
    pub(crate) fn open(path: Option<&Path>, steps: u64) -> Result<Self, LearnerError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let kept = match steps > 0 && path.exists() {
            true => lines(path, steps).map_err(LearnerError::file("read", path))?,
            false => String::new(),
        };
        let mut file = File::create(path).map_err(LearnerError::file("make", path))?;
        file.write_all(kept.as_bytes())
            .map_err(LearnerError::file("write to", path))?;
        Ok(Self {
            file: Some((path.to_owned(), file)),
            ..Self::default()
        })
    }

    /// The same that notes each step in `measured`, too.
    pub(crate) fn noting(self, measured: Arc<Measured>) -> Self {
        Self { measured, ..self }
    }

    /// The same that writes scalars for TensorBoard, too.
    pub(crate) fn showing(self, board: Arc<Board>) -> Self {
        Self { board, ..self }
    }

    /// A version was trained at this step, in so much of this thread's time.
    pub(crate) fn version(&mut self, step: u64, metrics: &Metrics, took: Duration) {
        self.measured.training_seconds.inc_by(took.as_secs_f64());
        let metrics = metrics.iter().map(|(name, value)| (name.as_str(), *value));
        self.board.version(step, metrics);
    }

    /// Records a step. Whoever follows the file sees whole lines.
    ///
    /// # Errors
    /// [`LearnerError::File`] when the line cannot be written.
    pub(crate) fn record(&mut self, record: &StepRecord<'_>) -> Result<(), LearnerError> {
        tracing::debug!(step = record.step, version = %record.version, metrics = ?record.metrics, "step");
        self.measured.stepped(record.step, record.metrics, record.took);
        let metrics = record.metrics.values().iter();
        self.board
            .step(record.step, metrics.map(|(name, value)| (*name, *value)));
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let mut line =
            serde_json::to_vec(record).map_err(|e| LearnerError::file("write to", path)(e.into()))?;
        line.push(b'\n');
        file.write_all(&line)
            .map_err(LearnerError::file("write to", path))
    }
}

/// The lines of a file that are of the first `steps` steps.
fn lines(path: &Path, steps: u64) -> std::io::Result<String> {
    #[derive(Deserialize)]
    struct Numbered {
        step: u64,
    }
    let is_kept = |line: &&str| serde_json::from_str(line).is_ok_and(|line: Numbered| line.step <= steps);
    let content = std::fs::read_to_string(path)?;
    Ok(content
        .lines()
        .filter(is_kept)
        .flat_map(|line| [line, "\n"])
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_start_keeps_the_steps_it_goes_on_from_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("steps.jsonl");
        let line = |step: u64| format!("{{\"step\":{step},\"loss\":0.5}}\n");
        std::fs::write(&path, (1..=4).map(line).collect::<String>() + "{\"step\":5,\"lo").unwrap();
        let content = || std::fs::read_to_string(&path).unwrap();
        StepLog::open(Some(&path), 3).unwrap();
        assert_eq!(content(), (1..=3).map(line).collect::<String>());
        StepLog::open(Some(&path), 0).unwrap();
        assert_eq!(content(), "");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let path = Path::new("/nowhere/at/all/steps.jsonl");
        let error = StepLog::open(Some(path), 0).unwrap_err().to_string();
        assert_eq!(error, "cannot make /nowhere/at/all/steps.jsonl");
    }
}

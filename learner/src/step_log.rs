//! A run's optimizer steps as they are taken: an event each, and a line of JSON in a file where one is asked for.

use crate::error::LearnerError;
use crate::metrics::StepMetrics;
use common::PolicyVersion;
use serde::Serialize;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where steps are recorded.
#[derive(Debug, Default)]
pub(crate) struct StepLog {
    file: Option<(PathBuf, File)>,
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
}

impl StepLog {
    /// Records into `path`, replacing what was there; without a path there are events alone.
    ///
    /// # Errors
    /// [`LearnerError::File`] when the file cannot be made.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, LearnerError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let file = File::create(path).map_err(LearnerError::file("make", path))?;
        Ok(Self {
            file: Some((path.to_owned(), file)),
        })
    }

    /// Records a step. Whoever follows the file sees whole lines.
    ///
    /// # Errors
    /// [`LearnerError::File`] when the line cannot be written.
    pub(crate) fn record(&mut self, record: &StepRecord<'_>) -> Result<(), LearnerError> {
        tracing::debug!(step = record.step, version = %record.version, metrics = ?record.metrics, "step");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let path = Path::new("/nowhere/at/all/steps.jsonl");
        let error = StepLog::open(Some(path)).unwrap_err().to_string();
        assert_eq!(error, "cannot make /nowhere/at/all/steps.jsonl");
    }
}

//! The event file of a start of the learner, shared by training and by those who hear what an evaluator finds of versions.

use super::EventFile;
use crate::error::LearnerError;
use common::PolicyVersion;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where scalars go; nowhere before it is opened. A run does not end because somebody can no longer watch it: after a failure
/// nothing more is written.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Option<Open>>);

#[derive(Debug)]
struct Open {
    file: EventFile,
    /// The number of the start's first version.
    first: u64,
    /// Optimizer steps of the run at each of its versions, from the first on.
    steps: Vec<u64>,
    /// What results of evaluators are called.
    results: &'static str,
    /// The newest version whose results are there. A viewer drops what it has behind a step that comes late, so nothing is
    /// written for that version or an earlier one.
    measured: Option<u64>,
}

impl Board {
    /// From now on writes into `file`, of a start whose first version is that of `steps` optimizer steps. `measured`: what an evaluator
    /// found of that version is in an earlier start's file. Such results are those of held-out products where the run `holds_out` some.
    pub(crate) fn open(
        &self,
        file: EventFile,
        first: PolicyVersion,
        steps: u64,
        measured: bool,
        holds_out: bool,
    ) {
        *self.inside() = Some(Open {
            file,
            first: first.number,
            steps: vec![steps],
            results: if holds_out { "held_out" } else { "on_its_products" },
            measured: measured.then_some(first.number),
        });
    }

    /// Whether anything is written.
    pub(crate) fn is_open(&self) -> bool {
        self.inside().is_some()
    }

    /// Writes what an optimizer step measured.
    pub(crate) fn step<'a>(&self, step: u64, values: impl Iterator<Item = (&'a str, f64)>) {
        self.write(|open| open.file.scalars("step", step, values));
    }

    /// The next version was trained at this step: writes what that measured.
    pub(crate) fn version<'a>(&self, step: u64, values: impl Iterator<Item = (&'a str, f64)>) {
        self.write(|open| {
            open.steps.push(step);
            open.file.scalars("version", step, values)
        });
    }

    /// Writes what an evaluator found of a version of this start, at the version's step. Each version has one result, the first
    /// that comes, and none that comes after a newer version's.
    pub(crate) fn evaluated<'a>(&self, version: PolicyVersion, values: impl Iterator<Item = (&'a str, f64)>) {
        self.write(|open| {
            if open.measured.is_some_and(|measured| version.number <= measured) {
                tracing::debug!(%version, "results that TensorBoard has, or has newer ones than");
                return Ok(());
            }
            let place = version.number.checked_sub(open.first);
            let place = place.and_then(|place| usize::try_from(place).ok());
            let Some(&step) = place.and_then(|place| open.steps.get(place)) else {
                return Ok(());
            };
            open.measured = Some(version.number);
            open.file.scalars(open.results, step, values)
        });
    }

    fn write(&self, scalars: impl FnOnce(&mut Open) -> Result<(), LearnerError>) {
        let mut inside = self.inside();
        let Some(open) = &mut *inside else {
            return;
        };
        if let Err(error) = scalars(open) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "nothing more is written for TensorBoard"
            );
            *inside = None;
        }
    }

    fn inside(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What observers say that versions do on held-out products, or on the run's own where none are held out. It is recorded and shown; nothing of the run depends on it.

use super::{ControlPlane, UnknownVersion};
use crate::ledger::EvaluationNote;
use crate::run::VersionMetrics;
use common::PolicyVersion;
use std::collections::BTreeMap;
use std::sync::PoisonError;

impl ControlPlane {
    /// A version was measured.
    ///
    /// # Errors
    /// [`UnknownVersion`] when this run has not published it.
    pub(crate) fn evaluated(
        &self,
        version: PolicyVersion,
        values: BTreeMap<String, f64>,
    ) -> Result<(), UnknownVersion> {
        self.check_published(version)?;
        let held_out = self.assortment.holds_out();
        tracing::info!(%version, held_out, ?values, "version measured");
        self.ledger.note(EvaluationNote {
            version,
            values: values.clone(),
        });
        if let Some(audience) = self.audience.get() {
            audience.hear_of_evaluation(version, values.clone());
        }
        let mut newest = self.held_out.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|newest| newest.version <= version) {
            *newest = Some(VersionMetrics { version, values });
        }
        Ok(())
    }

    /// Whether an evaluator is still to report what the run's `last` version does.
    pub(crate) fn awaits_evaluation(&self, last: PolicyVersion) -> bool {
        let newest = self.held_out.lock().unwrap_or_else(PoisonError::into_inner);
        let is_measured = newest.as_ref().is_some_and(|newest| newest.version == last);
        !is_measured && self.actors.evaluator_follows()
    }

    /// What the newest version does that was measured; `None` before one was reported to this start.
    pub(crate) fn held_out(&self) -> Option<VersionMetrics> {
        self.held_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

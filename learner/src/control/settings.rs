//! The settings that decide what becomes of the run's tasks: those that it was begun with, and what the files hold that only actors read, as
//! the first one tells that knows it.

use crate::ledger::{Beginning, Ledger};
use crate::measured_products::measured_products;
use common::{DecidingSettings, OtherSetting};
use data::Catalogue;
use std::sync::{Mutex, PoisonError};

/// The settings of a run.
#[derive(Debug)]
pub(crate) struct RunSettings {
    begun: Mutex<Beginning>,
    measured_on: DecidingSettings,
}

impl RunSettings {
    /// Of a run that was begun so, with this catalogue.
    pub(super) fn new(begun: Beginning, catalogue: &dyn Catalogue) -> Self {
        Self {
            begun: Mutex::new(begun),
            measured_on: measured_products(catalogue),
        }
    }

    /// Compares what somebody states who takes part. What files hold of which nothing is known yet is the run's from here on, and recorded.
    ///
    /// # Errors
    /// What is stated otherwise than the run has it; then nothing is recorded.
    pub(crate) fn taking_part(
        &self,
        stated: &DecidingSettings,
        ledger: &Ledger,
    ) -> Result<(), Vec<OtherSetting>> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        same(stated, &begun.settings)?;
        let new = stated.contents().unknown_to(&begun.settings);
        if !new.is_empty() {
            tracing::info!(contents = ?new, "what files hold is the run's from here on");
            begun.settings = begun.settings.clone().and(new);
            // Noted before the next one is compared: the last note stands.
            ledger.note(begun.clone());
        }
        Ok(())
    }

    /// Compares what somebody states who measures versions.
    ///
    /// # Errors
    /// As [`taking_part`](Self::taking_part).
    pub(crate) fn measuring(&self, stated: &DecidingSettings) -> Result<(), Vec<OtherSetting>> {
        same(stated, &self.measured_on)
    }
}

fn same(stated: &DecidingSettings, expected: &DecidingSettings) -> Result<(), Vec<OtherSetting>> {
    let others = stated.others_than(expected);
    match others.is_empty() {
        true => Ok(()),
        false => Err(others),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::catalogue;
    use crate::ledger::{Identity, Note};
    use common::{LearnerEpoch, RunId};
    use futures::FutureExt as _;

    const LIST: &str = "actor.guardrails.text_blocklist";

    fn setting(value: &str) -> DecidingSettings {
        DecidingSettings::of_table("actor", [("top_p", value.to_owned())])
    }

    fn holding(content: &[u8]) -> DecidingSettings {
        DecidingSettings::of_contents(LIST, store::digest(content))
    }

    #[test]
    fn the_first_actor_says_what_files_hold_and_it_is_recorded_once_and_compared_from_then_on() {
        let (run, run_seed) = (RunId::new("spring").unwrap(), 7);
        let begun = Beginning {
            settings: setting("1.0"),
            ..Beginning::of_earlier_version(Identity { run, run_seed })
        };
        let settings = RunSettings::new(begun.clone(), &catalogue(&[None; 3]));
        let ledger = Ledger::new(LearnerEpoch(1));
        let join = |stated: &DecidingSettings| settings.taking_part(stated, &ledger);
        let noted = || ledger.arrivals().now_or_never().flatten().map(|(_, notes)| notes);
        // One that is refused says nothing, and what is none of a file is not taken.
        assert!(join(&setting("0.5").and(holding(b"wine"))).is_err());
        let unknown = DecidingSettings::of_table("actor", [("nucleus", "1".to_owned())]);
        assert_eq!(join(&unknown), Ok(()));
        assert_eq!(join(&DecidingSettings::default()), Ok(()));
        assert_eq!(noted(), None);

        let first = setting("1.0").and(holding(b"beer"));
        assert_eq!(join(&first), Ok(()));
        let completed = Beginning {
            settings: first.clone(),
            ..begun
        };
        assert_eq!(noted(), Some(vec![Note::from(completed)]));
        assert_eq!(join(&first), Ok(()));
        assert_eq!(join(&setting("1.0")), Ok(()));
        let others = join(&holding(b"wine")).unwrap_err();
        assert_eq!(others[0].key, format!("{LIST}.digest"));
        assert_ne!(others[0].stated, others[0].expected);
        assert_eq!(noted(), None);
    }
}

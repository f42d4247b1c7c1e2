//! What a start is refused for, as far as it can be known before it takes the run from another one, writes or computes anything: all of
//! it, told at once.

use crate::config::LearnerConfig;
use crate::error::LearnerError;
use crate::mask::Masker;
use crate::partners::Partners;
use crate::prompts::{CompletionLimits, check_prompts};
use data::Catalogue;
use models::policy::Policy;
use std::io;
use std::path::Path;

/// Where a learner writes beside its stores, as far as it is asked to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outputs<'a> {
    /// The file of optimizer steps.
    pub steps: Option<&'a Path>,
    /// The directory of pairs.
    pub pairs: Option<&'a Path>,
    /// TensorBoard's directory.
    pub tensorboard: Option<&'a Path>,
}

/// How it is found out whether a place can be written to.
type Probe = fn(&Path) -> io::Result<()>;

/// Refuses a catalogue that cannot be trained on with these settings.
///
/// # Errors
/// [`LearnerError::Catalogue`] when there is no training product or instruction, or no partner for some product in a mode
/// that needs one.
pub(crate) fn check_catalogue(config: &LearnerConfig, catalogue: &dyn Catalogue) -> Result<(), LearnerError> {
    if catalogue.split().train.is_empty() || catalogue.instructions().is_empty() {
        let reason = "it needs at least one training product and one instruction".into();
        return Err(LearnerError::Catalogue {
            name: catalogue.name().to_owned(),
            reason,
        });
    }
    if config.loss.has_negatives() && config.loss.mode.needs_partner() {
        Partners::new(catalogue, config.loss.partner).check(catalogue)?;
    }
    Ok(())
}

/// Why these products cannot be trained on with these settings: as far as products tell, and as far as `policy` tells where it is
/// known, of which no weight is looked at. `completion_tokens` is the longest completion that actors sample.
pub fn training_refusals(
    config: &LearnerConfig,
    catalogue: &dyn Catalogue,
    policy: Option<&Policy>,
    completion_tokens: usize,
) -> Vec<LearnerError> {
    match policy {
        Some(policy) => {
            let limits = completion_limits(config, catalogue, policy, completion_tokens);
            limits.err().unwrap_or_default()
        }
        None => check_catalogue(config, catalogue).err().into_iter().collect(),
    }
}

/// What completions must respect in a run on these products.
///
/// # Errors
/// Those of [`training_refusals`].
pub(crate) fn completion_limits(
    config: &LearnerConfig,
    catalogue: &dyn Catalogue,
    policy: &Policy,
    completion_tokens: usize,
) -> Result<CompletionLimits, Vec<LearnerError>> {
    let checked = [check_catalogue(config, catalogue), check_mask(config, policy)];
    let mut refusals: Vec<_> = checked.into_iter().filter_map(Result::err).collect();
    match check_prompts(catalogue, policy, completion_tokens) {
        Ok(limits) if refusals.is_empty() => Ok(limits),
        checked => {
            refusals.extend(checked.err());
            Err(refusals)
        }
    }
}

/// Refuses a mask that does not fit the policy's pictures, in a mode that masks.
///
/// # Errors
/// [`LearnerError::Config`].
pub(crate) fn check_mask(config: &LearnerConfig, policy: &Policy) -> Result<(), LearnerError> {
    let loss = &config.loss;
    if loss.has_negatives() && loss.mode.masks() {
        Masker::new(loss, &policy.config.vision).check()?;
    }
    Ok(())
}

impl Outputs<'_> {
    /// The places that cannot be written to. Each is tried, and nothing is left there.
    pub fn refusals(self) -> Vec<LearnerError> {
        let tried: [(_, _, Probe); 3] = [
            ("--steps", self.steps, store::probe_file),
            ("--pairs", self.pairs, store::probe_directory),
            ("telemetry.tensorboard", self.tensorboard, store::probe_directory),
        ];
        let refused = |(name, path, probe): (&'static str, Option<&Path>, Probe)| {
            let path = path?;
            let source = probe(path).err()?;
            let path = path.to_owned();
            Some(LearnerError::Output { name, path, source })
        };
        tried.into_iter().filter_map(refused).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::{catalogue, with_captions};
    use crate::test_policy::policy;
    use crate::{LossConfig, LossMode};

    fn config(mode: LossMode, patch: u32) -> LearnerConfig {
        let mut config = LearnerConfig {
            loss: LossConfig::of(mode),
            ..LearnerConfig::default()
        };
        config.loss.mask.patch = patch;
        config
    }

    fn told(refusals: &[LearnerError]) -> Vec<String> {
        assert!(refusals.iter().all(LearnerError::is_configuration));
        refusals.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_products_and_policy_tell_is_told_at_once() {
        let (policy, long) = (policy(), "№".repeat(60));
        let refusals = |config: &LearnerConfig, products: &dyn Catalogue, policy: Option<&Policy>| {
            told(&training_refusals(config, products, policy, 8))
        };
        let masked = config(LossMode::MaskOnly, 4);
        let found = refusals(&masked, &with_captions(&["the lamp", &long]), Some(&policy));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("loss.mask.patch = 4"), "{found:?}");
        assert!(found[1].contains("product p1"), "{found:?}");
        let alone = catalogue(&[None]);
        let paired = config(LossMode::JointSwap, 1);
        for policy in [None, Some(&policy)] {
            let found = refusals(&paired, &alone, policy);
            assert!(found.len() == 1 && found[0].contains("no partner"), "{found:?}");
        }
        let right = refusals(&paired, &catalogue(&[None; 3]), Some(&policy));
        assert_eq!(right, [""; 0]);
    }

    #[test]
    fn every_place_that_cannot_be_written_to_is_named_by_what_asked_for_it() {
        let place = tempfile::tempdir().unwrap();
        let (file, inside) = (place.path().join("steps.jsonl"), place.path().join("a/b"));
        let right = Outputs {
            steps: Some(&file),
            pairs: Some(&inside),
            tensorboard: Some(&inside),
        };
        assert_eq!(told(&right.refusals()), [""; 0]);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let nowhere = Path::new("/proc/nowhere");
        let wrong = Outputs {
            steps: Some(nowhere),
            pairs: Some(nowhere),
            tensorboard: Some(nowhere),
        };
        let found = told(&wrong.refusals());
        let names = ["--steps", "--pairs", "telemetry.tensorboard"];
        for (found, name) in found.iter().zip(names) {
            assert_eq!(*found, format!("{name}: cannot write to /proc/nowhere"));
        }
        assert_eq!(found.len(), 3);
    }
}

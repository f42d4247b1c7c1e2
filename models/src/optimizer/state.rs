//! The optimizer's state between processes: tensors under parameter names.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::{Device, Tensor, TensorData};

use super::AdamW;
use crate::error::ModelError;
use crate::weights::NamedTensors;
use crate::weights::streaming::lengths;

/// The parts of a parameter's state, as its name ends in the stored form: both moments, flat and in f32, and how many steps
/// they have seen.
const MOMENT_1: &str = ".moment_1";
const MOMENT_2: &str = ".moment_2";
const TIME: &str = ".time";

/// What an optimizer has gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerState {
    /// Steps taken.
    pub steps: u64,
    /// Of each parameter that was ever updated, by its name.
    pub moments: NamedTensors,
}

impl AdamW {
    /// What a later process needs to take the same next step.
    pub fn state(&self) -> OptimizerState {
        let mut moments = NamedTensors::new();
        for (name, state) in &self.moments {
            let momentum = &state.momentum;
            let time = TensorData::from([momentum.time as i64]);
            moments.insert(format!("{name}{TIME}"), time);
            moments.insert(format!("{name}{MOMENT_1}"), momentum.moment_1.clone().into_data());
            moments.insert(format!("{name}{MOMENT_2}"), momentum.moment_2.clone().into_data());
        }
        OptimizerState {
            steps: self.steps,
            moments,
        }
    }

    /// Goes on from the state of another process, whose parameters `model` has.
    ///
    /// # Errors
    /// [`ModelError::OptimizerState`] naming the entry that is missing, of no parameter or of another length.
    pub fn resume<M: Module>(
        &mut self,
        state: OptimizerState,
        model: &M,
        device: &Device,
    ) -> Result<(), ModelError> {
        let lengths = lengths(model);
        let fault = |entry: &str, reason: &str| ModelError::OptimizerState {
            entry: entry.to_owned(),
            reason: reason.to_owned(),
        };
        let mut moments = BTreeMap::new();
        for entry in state.moments.keys() {
            let name = [TIME, MOMENT_1, MOMENT_2]
                .iter()
                .find_map(|part| entry.strip_suffix(part));
            let known = name.and_then(|name| Some((name, *lengths.get(name)?)));
            let Some((name, length)) = known else {
                return Err(fault(entry, "of no parameter of this policy"));
            };
            if moments.contains_key(name) {
                continue;
            }
            let part = |ending: &str, length: usize| {
                let entry = format!("{name}{ending}");
                let data = state
                    .moments
                    .get(&entry)
                    .ok_or_else(|| fault(&entry, "missing"))?;
                match data.num_elements() == length {
                    true => Ok(data.clone()),
                    false => Err(fault(
                        &entry,
                        &format!("{} numbers, expected {length}", data.num_elements()),
                    )),
                }
            };
            let tensor = |ending| part(ending, length).map(|data| Tensor::<1>::from_data(data, device));
            let time = part(TIME, 1)?.iter::<i64>().next().unwrap_or_default();
            let momentum =
                AdaptiveMomentumState::new(time.max(0) as usize, tensor(MOMENT_1)?, tensor(MOMENT_2)?);
            moments.insert(name.to_owned(), AdamWState { momentum });
        }
        self.moments = moments;
        self.steps = state.steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::AdamWConfig;
    use crate::optimizer::tests::{gradients, net};
    use crate::weights::{collect, from_safetensors, to_safetensors};

    fn optimizer() -> AdamW {
        let config = AdamWConfig {
            learning_rate: 0.01,
            weight_decay: 0.1,
            ..AdamWConfig::default()
        };
        AdamW::new(config).unwrap()
    }

    #[test]
    fn a_resumed_optimizer_takes_the_same_steps_to_the_bit() {
        let mut whole = optimizer();
        let mut expected = net();
        let mut half = None;
        for step in 0..6 {
            if step == 3 {
                half = Some((expected.clone(), whole.state()));
            }
            let of_step = gradients(&expected, step);
            expected = whole.step(expected, of_step);
        }
        let (mut resumed, state) = half.unwrap();
        let bytes = to_safetensors(&state.moments, None).unwrap();
        let moments = from_safetensors(&bytes).unwrap();
        assert_eq!(moments, state.moments);
        let mut later = optimizer();
        let state = OptimizerState { moments, ..state };
        later.resume(state, &resumed, &Device::flex()).unwrap();
        assert_eq!(later.steps(), 3);
        for step in 3..6 {
            let of_step = gradients(&resumed, step);
            resumed = later.step(resumed, of_step);
        }
        assert_eq!(collect(&resumed, |_| true), collect(&expected, |_| true));
        assert_eq!(later.state(), whole.state());
    }

    #[test]
    fn state_of_another_policy_is_refused_by_entry() {
        let mut stepped = optimizer();
        let model = net();
        let of_step = gradients(&model, 0);
        stepped.step(model, of_step);
        let refused = |change: &dyn Fn(&mut NamedTensors)| {
            let mut state = stepped.state();
            change(&mut state.moments);
            let refusal = optimizer().resume(state, &net(), &Device::flex());
            refusal.unwrap_err().to_string()
        };
        let message = refused(&|moments| drop(moments.remove("bias.moment_2")));
        assert!(message.contains("bias.moment_2"), "{message}");
        let message = refused(&|moments| {
            moments.insert("bias.moment_1".into(), TensorData::from([1.0f32]));
        });
        assert!(
            message.contains("bias.moment_1") && message.contains("expected 3"),
            "{message}"
        );
        let message = refused(&|moments| {
            moments.insert("other.time".into(), TensorData::from([1i64]));
        });
        assert!(message.contains("other.time"), "{message}");
    }
}

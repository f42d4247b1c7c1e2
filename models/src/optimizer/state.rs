//! The optimizer's state as safetensors bytes, so that a run can stop in one process and go on in another.
//!
//! Entries: `steps` (i64, one element), and for each parameter that was ever updated `NAME.first_moment` and
//! `NAME.second_moment` (f32, flat) and `NAME.updates` (i64, one element).

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::{Device, Tensor, TensorData};

use super::AdamW;
use crate::error::ModelError;
use crate::weights::{NamedTensors, Path, from_safetensors, to_safetensors};

const STEPS: &str = "steps";

impl AdamW {
    /// The state as bytes: equal states give equal bytes.
    ///
    /// # Errors
    /// None in practice; those of [`to_safetensors`].
    pub fn state(&self) -> Result<Vec<u8>, ModelError> {
        let mut entries = NamedTensors::from([(STEPS.to_owned(), count(self.steps))]);
        for (name, AdamWState { momentum }) in &self.moments {
            entries.insert(
                format!("{name}.first_moment"),
                momentum.moment_1.clone().into_data(),
            );
            entries.insert(
                format!("{name}.second_moment"),
                momentum.moment_2.clone().into_data(),
            );
            entries.insert(format!("{name}.updates"), count(momentum.time as u64));
        }
        to_safetensors(&entries, None)
    }

    /// Takes over the state that [`state`](Self::state) wrote, for the parameters of `model`.
    ///
    /// Parameters are matched by name, so the model may be another instance with the same names and shapes.
    ///
    /// # Errors
    /// [`ModelError::Safetensors`] for malformed bytes, [`ModelError::OptimizerState`] for an entry that is
    /// missing, has the wrong size or belongs to no parameter. The optimizer is then as it was.
    pub fn load_state<M: Module>(&mut self, model: &M, bytes: &[u8]) -> Result<(), ModelError> {
        let mut entries = from_safetensors(bytes)?;
        let steps = take_count(&mut entries, STEPS)?;
        let mut loader = Loader {
            path: Path::default(),
            entries,
            moments: BTreeMap::new(),
            error: None,
        };
        model.visit(&mut loader);
        if let Some(error) = loader.error {
            return Err(error);
        }
        if let Some(name) = loader.entries.into_keys().next() {
            return Err(bad(&name, "belongs to no parameter of the model"));
        }
        self.steps = steps;
        self.moments = loader.moments;
        Ok(())
    }
}

struct Loader {
    path: Path,
    entries: NamedTensors,
    moments: BTreeMap<String, AdamWState<1>>,
    error: Option<ModelError>,
}

impl ModuleVisitor for Loader {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if self.error.is_some() || !self.entries.contains_key(&format!("{name}.updates")) {
            return;
        }
        let (elements, device) = (
            param.lazy_shape().num_elements(),
            param.lazy_device().without_autodiff(),
        );
        match take_moments(&mut self.entries, &name, elements, &device) {
            Ok(moments) => _ = self.moments.insert(name, moments),
            Err(error) => self.error = Some(error),
        }
    }
}

fn take_moments(
    entries: &mut NamedTensors,
    name: &str,
    elements: usize,
    device: &Device,
) -> Result<AdamWState<1>, ModelError> {
    let mut moment = |kind: &str| {
        let name = format!("{name}.{kind}");
        let data = entries.remove(&name).ok_or_else(|| bad(&name, "is missing"))?;
        if data
            .as_slice::<f32>()
            .is_ok_and(|values| values.len() == elements)
            && data.rank() == 1
        {
            Ok(Tensor::from_data(data, device))
        } else {
            let found = format!("{:?} of {:?}", data.shape().as_slice(), data.dtype());
            Err(bad(&name, &format!("is {found}, expected [{elements}] of F32")))
        }
    };
    let (first, second) = (moment("first_moment")?, moment("second_moment")?);
    let updates = take_count(entries, &format!("{name}.updates"))?;
    let momentum = AdaptiveMomentumState {
        time: updates as usize,
        moment_1: first,
        moment_2: second,
        max_moment_2: None,
    };
    Ok(AdamWState { momentum })
}

fn count(value: u64) -> TensorData {
    TensorData::new(vec![value as i64], [1])
}

fn take_count(entries: &mut NamedTensors, name: &str) -> Result<u64, ModelError> {
    let data = entries.remove(name).ok_or_else(|| bad(name, "is missing"))?;
    match data.as_slice::<i64>() {
        Ok([value]) if *value >= 0 => Ok(*value as u64),
        _ => Err(bad(name, "is not one count, expected one I64 of at least 0")),
    }
}

fn bad(name: &str, reason: &str) -> ModelError {
    ModelError::OptimizerState {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Net, gradients, net};
    use super::super::{AdamWConfig, Schedule};
    use super::*;
    use crate::weights::{apply, collect};

    fn optimizer() -> AdamW {
        let schedule = Schedule::Cosine;
        AdamW::new(AdamWConfig {
            schedule,
            total_steps: 9,
            weight_decay: 0.01,
            ..Default::default()
        })
        .unwrap()
    }

    fn train(net: Net, optimizer: &mut AdamW, steps: std::ops::Range<u64>) -> Net {
        steps.fold(net, |net, step| {
            let gradients = gradients(&net, step);
            optimizer.step(net, gradients)
        })
    }

    #[test]
    fn a_stopped_run_goes_on_in_a_new_process_to_the_same_bits() {
        let mut straight = optimizer();
        let expected = train(net(), &mut straight, 0..6);

        let mut first = optimizer();
        let half = train(net(), &mut first, 0..3);
        // What a new process has: another instance with new parameter ids, weights and state from bytes.
        let resumed = apply(net(), &mut collect(&half, |_| true)).unwrap();
        let mut second = optimizer();
        second.load_state(&resumed, &first.state().unwrap()).unwrap();
        assert_eq!(second.steps(), 3);
        let found = train(resumed, &mut second, 3..6);

        assert_eq!(collect(&found, |_| true), collect(&expected, |_| true));
        assert_eq!(second.state().unwrap(), straight.state().unwrap());
    }

    #[test]
    fn state_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
        let mut trained = optimizer();
        train(net(), &mut trained, 0..2);
        let entries = from_safetensors(&trained.state().unwrap()).unwrap();
        let without = |name: &str| {
            let mut entries = entries.clone();
            entries.remove(name).unwrap();
            entries
        };
        let with = |name: &str, data: TensorData| {
            let mut entries = entries.clone();
            entries.insert(name.to_owned(), data);
            entries
        };
        let cases = [
            ("steps", without("steps")),
            ("bias.second_moment", without("bias.second_moment")),
            ("bias.first_moment", without("bias.updates")),
            (
                "matrix.first_moment",
                with("matrix.first_moment", TensorData::zeros::<f32, _>([5])),
            ),
            (
                "matrix.second_moment",
                with("matrix.second_moment", TensorData::zeros::<f64, _>([6])),
            ),
            ("other.updates", with("other.updates", count(1))),
            (
                "bias.updates",
                with("bias.updates", TensorData::new(vec![-1i64], [1])),
            ),
        ];
        for (name, entries) in cases {
            let mut fresh = optimizer();
            let error = fresh
                .load_state(&net(), &to_safetensors(&entries, None).unwrap())
                .unwrap_err();
            assert!(error.to_string().contains(name), "{name}: {error}");
            assert_eq!(fresh.state().unwrap(), optimizer().state().unwrap());
        }
        assert!(optimizer().load_state(&net(), b"no").is_err());
    }
}

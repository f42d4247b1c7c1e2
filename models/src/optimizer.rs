//! AdamW with a learning-rate schedule.
//!
//! The update itself is Burn's; this file keeps the moments. Burn's whole-module optimizer is not used
//! because it keys its state by parameter ids, which are random and new in every process. Here state is keyed
//! by parameter name, so that it means the same in another instance of the model.
//!
//! Not here: gradient clipping (`gradients.rs`), and where the state is kept between processes.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamWState, GradientsParams, Optimizer};
use burn::tensor::{FloatDType, Tensor};

use crate::error::ModelError;
use crate::weights::Path;

mod config;
mod state;

pub use config::{AdamWConfig, Schedule};
pub use state::OptimizerState;

/// AdamW (Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>), moments in f32 whatever the
/// weights are in.
///
/// Weights in bf16 are updated in f32 and rounded back each step; there is no f32 master copy, so train in
/// f32 where small steps must add up.
pub struct AdamW {
    config: AdamWConfig,
    decayed: burn::optim::AdamW,
    undecayed: burn::optim::AdamW,
    /// Flat moments by parameter name.
    moments: BTreeMap<String, AdamWState<1>>,
    steps: u64,
}

impl AdamW {
    /// An optimizer that has taken no step.
    ///
    /// # Errors
    /// [`ModelError::OptimizerConfig`] with every setting that is out of range.
    pub fn new(config: AdamWConfig) -> Result<AdamW, ModelError> {
        config.check()?;
        let update = |weight_decay: f64| {
            burn::optim::AdamWConfig::new()
                .with_beta_1(config.beta_1 as f32)
                .with_beta_2(config.beta_2 as f32)
                .with_epsilon(config.epsilon as f32)
                .with_weight_decay(weight_decay as f32)
                .build()
        };
        let (decayed, undecayed) = (update(config.weight_decay), update(0.0));
        Ok(AdamW {
            config,
            decayed,
            undecayed,
            moments: BTreeMap::new(),
            steps: 0,
        })
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.config.learning_rate_after(self.steps)
    }

    /// Takes one step. Parameters without a gradient stay as they are and do not decay.
    pub fn step<M: Module>(&mut self, model: M, gradients: GradientsParams) -> M {
        let learning_rate = self.learning_rate();
        self.steps += 1;
        model.map(&mut Step {
            path: Path::default(),
            optimizer: self,
            gradients,
            learning_rate,
        })
    }

    fn update<const D: usize>(
        &mut self,
        name: String,
        weight: Tensor<D>,
        gradient: Tensor<D>,
        learning_rate: f64,
    ) -> Tensor<D> {
        let (shape, dtype) = (weight.shape(), weight.dtype());
        let update = if D >= 2 { &self.decayed } else { &self.undecayed };
        let flat = |tensor: Tensor<D>| {
            let elements = tensor.shape().num_elements();
            tensor.reshape([elements]).cast(FloatDType::F32)
        };
        let moments = self.moments.remove(&name);
        let (weight, moments) = update.step(learning_rate, flat(weight), flat(gradient), moments);
        if let Some(moments) = moments {
            self.moments.insert(name, moments);
        }
        weight.cast(FloatDType::from(dtype)).reshape(shape)
    }
}

struct Step<'a> {
    path: Path,
    optimizer: &'a mut AdamW,
    gradients: GradientsParams,
    learning_rate: f64,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let name = self.path.name();
        param.map(|weight| {
            let checkpointing = weight.gradient_checkpointing_strategy();
            let weight = self
                .optimizer
                .update(name, weight.inner(), gradient, self.learning_rate);
            match checkpointing {
                Some(strategy) => weight
                    .autodiff()
                    .with_gradient_checkpointing_strategy(strategy)
                    .require_grad(),
                None => weight,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::init::{constant_param, normal_param};

    #[derive(Module, Debug)]
    pub(super) struct Net {
        pub(super) matrix: Param<Tensor<2>>,
        pub(super) bias: Param<Tensor<1>>,
        pub(super) idle: Param<Tensor<1>>,
    }

    pub(super) fn net() -> Net {
        let device = Device::flex().autodiff();
        Net {
            matrix: normal_param([2, 3], 0.5, 1, &device),
            bias: constant_param([3], 0.25, &device),
            idle: constant_param([2], 1.0, &device),
        }
    }

    pub(super) fn gradients(net: &Net, step: u64) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        let device = Device::flex();
        gradients.register(
            net.matrix.id,
            crate::init::normal([2, 3], 1.0, 100 + step, &device),
        );
        gradients.register(net.bias.id, crate::init::normal([3], 1.0, 200 + step, &device));
        gradients
    }

    fn values<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f32> {
        param.val().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn steps_follow_the_formula_and_only_matrices_decay() {
        let config = AdamWConfig {
            learning_rate: 0.01,
            weight_decay: 0.1,
            ..Default::default()
        };
        let mut optimizer = AdamW::new(config).unwrap();
        let mut net = net();
        let mut expected: [Vec<f64>; 2] =
            [values(&net.matrix), values(&net.bias)].map(|v| v.into_iter().map(f64::from).collect());
        let mut moments = [vec![(0.0, 0.0); 6], vec![(0.0, 0.0); 3]];
        for step in 0..5 {
            let gradients = gradients(&net, step);
            let of_step = [
                gradients
                    .get::<2>(net.matrix.id)
                    .unwrap()
                    .into_data()
                    .try_to_vec::<f32>()
                    .unwrap(),
                gradients
                    .get::<1>(net.bias.id)
                    .unwrap()
                    .into_data()
                    .try_to_vec::<f32>()
                    .unwrap(),
            ];
            net = optimizer.step(net, gradients);
            for (which, decay) in [(0, 0.1), (1, 0.0)] {
                for (i, gradient) in of_step[which].iter().map(|g| f64::from(*g)).enumerate() {
                    let (m, v) = &mut moments[which][i];
                    *m = 0.9 * *m + 0.1 * gradient;
                    *v = 0.999 * *v + 0.001 * gradient * gradient;
                    let taken = step as i32 + 1;
                    let (m, v) = (*m / (1.0 - 0.9f64.powi(taken)), *v / (1.0 - 0.999f64.powi(taken)));
                    let weight = &mut expected[which][i];
                    *weight = *weight * (1.0 - 0.01 * decay) - 0.01 * m / (v.sqrt() + 1e-8);
                }
            }
        }
        for (expected, found) in expected.iter().zip([values(&net.matrix), values(&net.bias)]) {
            for (a, b) in expected.iter().zip(found) {
                assert!((a - f64::from(b)).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_parameter_without_a_gradient_stays_and_all_still_require_gradients() {
        let net = net();
        let before = (net.matrix.id, values(&net.idle));
        let stepped = AdamW::new(AdamWConfig {
            weight_decay: 0.5,
            ..Default::default()
        })
        .unwrap()
        .step(net.clone(), gradients(&net, 0));
        assert_eq!((stepped.matrix.id, values(&stepped.idle)), before);
        assert!(stepped.matrix.val().is_require_grad() && stepped.idle.val().is_require_grad());
    }

    #[test]
    fn bf16_weights_keep_their_format_and_move() {
        let device = Device::flex().autodiff();
        let mut net = net();
        net.matrix = Param::from_tensor(Tensor::<2>::ones([2, 3], &device).cast(FloatDType::BF16).detach());
        let mut optimizer = AdamW::new(AdamWConfig {
            learning_rate: 0.1,
            ..Default::default()
        })
        .unwrap();
        let stepped = optimizer.step(net.clone(), gradients(&net, 0));
        assert_eq!(stepped.matrix.val().dtype(), burn::tensor::DType::BF16);
        let moved = stepped
            .matrix
            .val()
            .cast(FloatDType::F32)
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert!(moved.iter().all(|w| (w - 1.0).abs() > 0.09), "{moved:?}");
    }
}

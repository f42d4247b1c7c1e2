//! The parameters of a module as named host tensors, and back.
//!
//! A parameter's name is its path in the module tree (`layers.0.q_proj.weight`); fields are named as in
//! Hugging Face checkpoints, so names need no translation. Layout does: see [`swap_hf_layout`]. Reading and
//! writing the file format is [`to_safetensors`] and [`from_safetensors`].
//!
//! Not here: files, shards, PEFT names. Only float parameters exist in our networks; others are left alone.

use std::collections::BTreeMap;
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData, bf16};

use crate::error::ModelError;

mod fit;
mod hf_layout;
mod laid_out;
mod safetensors_bytes;
mod safetensors_header;
mod safetensors_parts;
pub(crate) mod shard_writer;
pub mod shards;
pub(crate) mod streaming;
pub mod torch_bin;

pub(crate) use hf_layout::in_other_layout;
pub(crate) use hf_layout::shape_as_in_file;
pub use hf_layout::swap_hf_layout;
pub use laid_out::from_safetensors_laid_out;
pub use safetensors_bytes::{from_safetensors, to_safetensors};

/// Host tensors by parameter name, in name order.
pub type NamedTensors = BTreeMap<String, TensorData>;

/// Metadata entry that readers of safetensors files expect from PyTorch.
pub(crate) const METADATA: Option<(&str, &str)> = Some(("format", "pt"));

/// Copies the parameters whose name `filter` accepts to the host.
///
/// Names, shapes and layout are the module's own: a linear weight is `[in, out]`.
pub fn collect<M: Module>(module: &M, filter: impl Fn(&str) -> bool) -> NamedTensors {
    let mut collector = Collector {
        path: Path::default(),
        filter,
        tensors: NamedTensors::new(),
    };
    module.visit(&mut collector);
    collector.tensors
}

/// Replaces every parameter of `module` by the tensor of its name, which is taken out of `tensors`.
///
/// Parameters keep their identity, device and gradient setting, so optimizer state stays valid. A parameter
/// that was never used takes the number format of its tensor.
///
/// # Errors
/// As [`apply_matching`], with every parameter expected.
pub fn apply<M: Module>(module: M, tensors: &mut NamedTensors) -> Result<M, ModelError> {
    apply_matching(module, tensors, |_| true)
}

/// Like [`apply`], for the parameters whose name `filter` accepts; the others keep their values.
///
/// # Errors
/// [`ModelError::WeightNames`] when an accepted parameter has no tensor or a tensor has no accepted
/// parameter, [`ModelError::WeightShape`] and [`ModelError::WeightDtype`] when one does not fit. Everything
/// is checked first: on an error `tensors` is as it was.
pub fn apply_matching<M: Module>(
    module: M,
    tensors: &mut NamedTensors,
    filter: impl Fn(&str) -> bool,
) -> Result<M, ModelError> {
    fit::check(&module, tensors, &filter)?;
    Ok(module.map(&mut Applier {
        path: Path::default(),
        filter,
        tensors,
    }))
}

/// Refuses NaN and infinity in any tensor.
///
/// # Errors
/// [`ModelError::WeightNotFinite`] with the first offender in name order.
pub fn check_finite(tensors: &NamedTensors) -> Result<(), ModelError> {
    let mut tensors = tensors.iter();
    tensors.try_for_each(|(name, data)| check_tensor_finite(name, data))
}

/// Refuses NaN and infinity in one tensor.
fn check_tensor_finite(name: &str, data: &TensorData) -> Result<(), ModelError> {
    if is_finite(data) {
        return Ok(());
    }
    // Converting to f64 keeps NaN and infinity as they are, whatever the number format.
    let mut values = data.iter::<f64>().enumerate();
    match values.find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((index, value)) => Err(ModelError::WeightNotFinite {
            name: name.to_owned(),
            index,
            value,
        }),
    }
}

/// Whether all values are known to be finite at a glance: an adapter of some hundred megabytes is looked at beside decoding.
fn is_finite(data: &TensorData) -> bool {
    /// Without a way out within a part, so that the compiler looks at several values at once.
    fn all<E>(values: &[E], is_finite: impl Fn(&E) -> bool) -> bool {
        const PART: usize = 4096;
        let part = |part: &[E]| part.iter().fold(true, |all, value| all & is_finite(value));
        values.chunks(PART).all(part)
    }
    match data.dtype() {
        DType::F32 => data
            .as_slice()
            .is_ok_and(|values| all(values, |value: &f32| value.is_finite())),
        DType::BF16 => data
            .as_slice()
            .is_ok_and(|values| all(values, |value: &bf16| value.is_finite())),
        _ => false,
    }
}

/// Names for an error message: the first few, and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameList(pub Vec<String>);

impl fmt::Display for NameList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        match self.0.len() {
            0 => out.write_str("none"),
            count if count <= SHOWN => out.write_str(&self.0.join(", ")),
            count => write!(out, "{} and {} more", self.0[..SHOWN].join(", "), count - SHOWN),
        }
    }
}

/// Where a module traversal stands.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    pub(crate) fn name(&self) -> String {
        self.0.join(".")
    }
}

/// Marks the parameters whose path `trained` holds of as the only ones that get gradients. The marks take effect on an
/// autodiff device.
pub(crate) fn train_only<M: Module>(module: M, trained: impl Fn(&str) -> bool) -> M {
    struct Marker<F>(Path, F);
    impl<F: Fn(&str) -> bool> ModuleMapper for Marker<F> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let trained = (self.1)(&self.0.name());
            param.set_require_grad(trained)
        }
    }
    module.map(&mut Marker(Path::default(), trained))
}

struct Collector<F> {
    path: Path,
    filter: F,
    tensors: NamedTensors,
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Collector<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if (self.filter)(&name) {
            self.tensors.insert(name, param.val().into_data());
        }
    }
}

struct Applier<'a, F> {
    path: Path,
    filter: F,
    tensors: &'a mut NamedTensors,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Applier<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        if !(self.filter)(&name) {
            return param;
        }
        match self.tensors.remove(&name) {
            None => param,
            Some(data) => {
                let (id, device, dtype) = (param.id, param.lazy_device(), data.dtype());
                param.transform_for_load(Tensor::from_data(data, (&device, dtype)), id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, bf16};

    use super::*;
    use crate::init::{constant_param, normal_param};

    #[derive(Module, Debug)]
    struct Layer {
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
    }

    #[derive(Module, Debug)]
    struct Net {
        layers: Vec<Layer>,
        scale: Param<Tensor<1>>,
    }

    fn net(seed: u64) -> Net {
        let device = Device::flex().autodiff();
        let layer = |seed, bias: bool| Layer {
            weight: normal_param([2, 3], 1.0, seed, &device),
            bias: bias.then(|| constant_param([3], 0.5, &device)),
        };
        Net {
            layers: vec![layer(seed, true), layer(seed + 1, false)],
            scale: constant_param([4], seed as f64, &device).set_require_grad(false),
        }
    }

    fn all(_name: &str) -> bool {
        true
    }

    #[test]
    fn names_are_the_paths_in_the_module() {
        let names: Vec<_> = collect(&net(1), all).into_keys().collect();
        assert_eq!(
            names,
            ["layers.0.bias", "layers.0.weight", "layers.1.weight", "scale"]
        );
        assert_eq!(collect(&net(1), |name| name.ends_with("bias")).len(), 1);
    }

    #[test]
    fn applied_weights_are_those_collected_and_parameters_stay_who_they_are() {
        let (from, to) = (net(1), net(50));
        let applied = apply(to.clone(), &mut collect(&from, all)).unwrap();
        assert_eq!(collect(&applied, all), collect(&from, all));
        assert_ne!(collect(&to, all), collect(&from, all));
        assert_eq!(applied.layers[0].weight.id, to.layers[0].weight.id);
        assert!(applied.layers[0].weight.val().is_require_grad());
        assert!(!applied.scale.val().is_require_grad());
    }

    #[test]
    fn parameters_about_to_be_replaced_are_never_drawn() {
        let (from, to) = (net(1), net(50));
        let applied = apply(to.clone(), &mut collect(&from, all)).unwrap();
        assert!(!to.layers[0].weight.is_initialized());
        assert!(applied.layers[0].weight.is_initialized());
    }

    #[test]
    fn a_part_of_the_model_can_be_replaced_alone() {
        let (from, to) = (net(1), net(50));
        let only = |name: &str| name.starts_with("layers.0");
        let mut part = collect(&from, only);
        let applied = apply_matching(to.clone(), &mut part, only).unwrap();
        assert!(part.is_empty());
        assert_eq!(collect(&applied, only), collect(&from, only));
        assert_eq!(
            collect(&applied, |name| !only(name)),
            collect(&to, |name| !only(name))
        );
    }

    #[test]
    fn missing_and_unused_tensors_are_all_listed_and_none_is_taken() {
        let mut tensors = collect(&net(1), all);
        let scale = tensors.remove("scale").unwrap();
        tensors.insert("scales".into(), scale);
        let before = tensors.clone();
        let message = apply(net(2), &mut tensors).unwrap_err().to_string();
        assert_eq!(
            message,
            "weights do not fit the model: missing scale; not in the model scales"
        );
        assert_eq!(tensors, before);
    }

    #[test]
    fn another_shape_or_number_format_is_refused_by_name() {
        let refused = |name: &str, data: TensorData, model: Net| {
            let mut tensors = collect(&net(1), all);
            tensors.insert(name.into(), data);
            let before = tensors.clone();
            let error = apply(model, &mut tensors).unwrap_err();
            assert_eq!(tensors, before);
            assert!(error.to_string().contains(name), "{error}");
            error
        };
        let transposed = TensorData::zeros::<f32, _>([3, 2]);
        let shape = refused("layers.1.weight", transposed, net(2));
        assert!(matches!(shape, ModelError::WeightShape { expected, .. } if expected == [2, 3]));
        let half = TensorData::new(vec![bf16::ONE; 4], [4]);
        let used = net(2);
        used.scale.val();
        let dtype = refused("scale", half.clone(), used);
        assert!(matches!(dtype, ModelError::WeightDtype { expected, .. } if expected == "F32"));
        let ints = TensorData::zeros::<i64, _>([4]);
        assert!(matches!(
            refused("scale", ints, net(2)),
            ModelError::WeightDtype { .. }
        ));
        // A parameter that was never used takes the format of its tensor.
        let mut tensors = collect(&net(1), all);
        tensors.insert("scale".into(), half);
        assert_eq!(
            apply(net(2), &mut tensors).unwrap().scale.val().dtype(),
            DType::BF16
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_found() {
        let mut tensors = collect(&net(1), all);
        check_finite(&tensors).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            tensors.insert("scale".into(), TensorData::from([0.0, 1.0, bad, 2.0]));
            let message = check_finite(&tensors).unwrap_err().to_string();
            assert!(message.starts_with("weight scale: element 2 is"), "{message}");
        }
        tensors.insert("scale".into(), TensorData::new(vec![bf16::NAN], [1]));
        assert!(check_finite(&tensors).is_err());
    }

    #[test]
    fn long_lists_of_names_are_cut_short() {
        let list = |count: usize| NameList((0..count).map(|i| i.to_string()).collect()).to_string();
        assert_eq!(list(0), "none");
        assert_eq!(list(5), "0, 1, 2, 3, 4");
        assert_eq!(list(8), "0, 1, 2, 3, 4 and 3 more");
    }
}

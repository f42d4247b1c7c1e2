//! Whether a set of tensors fits the parameters of a module, decided before Burn sees any of them: Burn would
//! panic, or take a tensor of the wrong number format without a word.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use super::{NameList, NamedTensors, Path};
use crate::error::ModelError;

/// Compares names, then shapes and number formats; initialises no parameter.
pub(super) fn check<M: Module>(
    module: &M,
    tensors: &NamedTensors,
    filter: impl Fn(&str) -> bool,
) -> Result<(), ModelError> {
    let mut fit = Fit {
        path: Path::default(),
        filter,
        tensors,
        matched: 0,
        missing: vec![],
        misfit: None,
    };
    module.visit(&mut fit);
    let Fit {
        filter,
        matched,
        missing,
        misfit,
        ..
    } = fit;
    if !missing.is_empty() || matched < tensors.len() {
        let names = parameter_names(module, filter);
        let unused = tensors
            .keys()
            .filter(|name| names.binary_search(name).is_err())
            .cloned()
            .collect();
        return Err(ModelError::WeightNames {
            missing: NameList(missing),
            unused: NameList(unused),
        });
    }
    misfit.map_or(Ok(()), Err)
}

struct Fit<'a, F> {
    path: Path,
    filter: F,
    tensors: &'a NamedTensors,
    matched: usize,
    missing: Vec<String>,
    misfit: Option<ModelError>,
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Fit<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if !(self.filter)(&name) {
            return;
        }
        let Some(data) = self.tensors.get(&name) else {
            self.missing.push(name);
            return;
        };
        self.matched += 1;
        if self.misfit.is_none() {
            self.misfit = misfit(name, param, data);
        }
    }
}

fn misfit<const D: usize>(name: String, param: &Param<Tensor<D>>, data: &TensorData) -> Option<ModelError> {
    let (expected, found) = (param.lazy_shape(), data.shape());
    if expected != *found {
        return Some(ModelError::WeightShape {
            name,
            expected: expected.to_vec(),
            found: found.to_vec(),
        });
    }
    let expected = match param.is_initialized() {
        true => vec![param.dtype()],
        false => vec![DType::F32, DType::BF16, DType::F16],
    };
    if expected.contains(&data.dtype()) {
        return None;
    }
    let expected = expected
        .iter()
        .map(|dtype| format!("{dtype:?}"))
        .collect::<Vec<_>>()
        .join(" or ");
    Some(ModelError::WeightDtype {
        name,
        expected,
        found: format!("{:?}", data.dtype()),
    })
}

/// Names of the float parameters that `filter` accepts, sorted.
fn parameter_names<M: Module>(module: &M, filter: impl Fn(&str) -> bool) -> Vec<String> {
    struct Names<F>(Path, F, Vec<String>);
    impl<F: Fn(&str) -> bool> ModuleVisitor for Names<F> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }

        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            let name = self.0.name();
            if (self.1)(&name) {
                self.2.push(name);
            }
        }
    }
    let mut names = Names(Path::default(), filter, vec![]);
    module.visit(&mut names);
    names.2.sort_unstable();
    names.2
}

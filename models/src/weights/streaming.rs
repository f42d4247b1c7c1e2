//! Weights from files into a network, one tensor at a time: a model of any size needs no second copy of itself.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use super::shards::Shards;
use super::{NameList, NamedTensors, Path, check_finite, hf_layout, swap_hf_layout};
use crate::error::ModelError;

/// What a network takes from files.
pub(crate) struct WeightSource<'a> {
    /// The files.
    pub(crate) shards: &'a mut Shards,
    /// What the files call the weight of this name.
    pub(crate) theirs: Box<dyn Fn(&str) -> String + 'a>,
    /// Which of their names are no weights.
    pub(crate) ignored: &'a dyn Fn(&str) -> bool,
    /// Number format of the network; `None` keeps the files'.
    pub(crate) dtype: Option<DType>,
    /// Told the elements loaded so far and of all.
    pub(crate) progress: &'a mut dyn FnMut(u64, u64),
}

/// Names and shapes of the files against those of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Weights that the files lack, as they would call them.
    pub(crate) missing: Vec<String>,
    /// Tensors of the files that the network has no place for.
    pub(crate) unused: Vec<String>,
    /// Tensors of another shape, with both shapes.
    pub(crate) misshaped: Vec<String>,
}

impl WeightSource<'_> {
    /// Compares names and shapes; no tensor is read.
    pub(crate) fn compare<M: Module>(&self, module: &M) -> Comparison {
        let mut places = Places::default();
        module.visit(&mut places);
        let (mut comparison, mut taken) = (Comparison::default(), BTreeSet::new());
        for (ours, mut expected) in places.found {
            let theirs = (self.theirs)(&ours);
            if hf_layout::is_transposed(&ours) == Some(true) {
                expected.reverse();
            }
            match self.shards.tensors().get(&theirs) {
                None => comparison.missing.push(theirs),
                Some(stored) => {
                    if !is_of_shape(&stored.shape, &expected) {
                        let shapes = format!("{theirs}: shape {:?}, expected {expected:?}", stored.shape);
                        comparison.misshaped.push(shapes);
                    }
                    taken.insert(theirs);
                }
            }
        }
        let names = self.shards.tensors().keys();
        let unused = names.filter(|name| !taken.contains(*name) && !(self.ignored)(name));
        comparison.unused = unused.cloned().collect();
        comparison
    }

    /// The module with the files' weights.
    ///
    /// # Errors
    /// [`ModelError::WeightsDiffer`] with every tensor that is missing, unused or of another shape;
    /// [`ModelError::Content`] with the file and tensor that cannot be read, has no float format or is not finite.
    pub(crate) fn load<M: Module>(mut self, module: M) -> Result<M, ModelError> {
        self.compare(&module).into_result()?;
        let total = self
            .shards
            .tensors()
            .values()
            .map(|stored| stored.elements())
            .sum();
        let mut loader = Loader {
            path: Path::default(),
            source: &mut self,
            total,
            done: 0,
            failure: None,
        };
        let module = module.map(&mut loader);
        match loader.failure {
            None => Ok(module),
            Some(error) => Err(error),
        }
    }
}

impl Comparison {
    /// # Errors
    /// [`ModelError::WeightsDiffer`] unless everything fits.
    pub(crate) fn into_result(self) -> Result<(), ModelError> {
        if self == Self::default() {
            return Ok(());
        }
        Err(ModelError::WeightsDiffer {
            missing: NameList(self.missing),
            unused: NameList(self.unused),
            misshaped: NameList(self.misshaped),
        })
    }
}

/// Whether a stored tensor fits: a 1x1 convolution is a matrix.
fn is_of_shape(stored: &[usize], expected: &[usize]) -> bool {
    stored == expected
        || (expected.len() == 2 && stored.len() == 4 && stored[..2] == *expected && stored[2..] == [1, 1])
}

/// The names of a module's parameters.
pub(crate) fn parameters<M: Module>(module: &M) -> Vec<String> {
    let mut places = Places::default();
    module.visit(&mut places);
    places.found.into_iter().map(|(name, _)| name).collect()
}

/// The shapes of a module's parameters, by their names.
pub(crate) fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut places = Places::default();
    module.visit(&mut places);
    places.found.into_iter().collect()
}

/// How many numbers each of a module's parameters has, by its name.
pub(crate) fn lengths<M: Module>(module: &M) -> BTreeMap<String, usize> {
    let mut places = Places::default();
    module.visit(&mut places);
    let lengths = places.found.into_iter();
    lengths
        .map(|(name, shape)| (name, shape.iter().product()))
        .collect()
}

/// How many numbers a module's parameters have.
pub(crate) fn elements<M: Module>(module: &M) -> u64 {
    let mut places = Places::default();
    module.visit(&mut places);
    let counts = places.found.iter();
    counts
        .map(|(_, shape)| shape.iter().product::<usize>() as u64)
        .sum()
}

#[derive(Default)]
struct Places {
    path: Path,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Places {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.name(), param.lazy_shape().to_vec()));
    }
}

struct Loader<'a, 'b> {
    path: Path,
    source: &'a mut WeightSource<'b>,
    total: u64,
    done: u64,
    failure: Option<ModelError>,
}

impl Loader<'_, '_> {
    fn load<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Result<Tensor<D>, ModelError> {
        let ours = self.path.name();
        let theirs = (self.source.theirs)(&ours);
        let data = self.source.shards.read(&theirs)?;
        let one = || {
            let float = [DType::F32, DType::BF16, DType::F16, DType::F64].contains(&data.dtype());
            if !float {
                return Err(ModelError::WeightDtype {
                    name: theirs.clone(),
                    expected: "F32, BF16, F16 or F64".into(),
                    found: format!("{:?}", data.dtype()),
                });
            }
            let dtype = match (self.source.dtype, data.dtype()) {
                (Some(dtype), _) => dtype,
                (None, DType::F64) => DType::F32,
                (None, dtype) => dtype,
            };
            self.done += data.num_elements() as u64;
            let data = match (D, data.shape().to_vec().as_slice()) {
                (2, &[rows, columns, 1, 1]) => {
                    let (bytes, _, dtype) = data.into_parts();
                    TensorData::from_bytes(bytes, [rows, columns], dtype)
                }
                _ => data,
            };
            let named = NamedTensors::from([(theirs.clone(), data)]);
            // Before the conversion: what a narrower format cannot hold would be infinite only afterwards.
            check_finite(&named)?;
            let data = named.into_values().next().expect("one was put in");
            let converted = NamedTensors::from([(ours, data.convert_dtype(dtype))]);
            check_finite(&converted)?;
            let data = swap_hf_layout(converted)?
                .into_values()
                .next()
                .expect("one was put in");
            Ok(Tensor::from_data(data, (&param.lazy_device(), dtype)))
        };
        let tensor = one().map_err(|error| error.in_file(self.source.shards.path(&theirs)))?;
        (self.source.progress)(self.done, self.total);
        Ok(tensor)
    }
}

impl ModuleMapper for Loader<'_, '_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failure.is_some() {
            return param;
        }
        match self.load(&param) {
            Ok(tensor) => {
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.failure = Some(error);
                param
            }
        }
    }
}

//! Adapters of diffusion models: read in the two ways they are named, folded into the weights when those are read.
//!
//! A generator's networks are not trained here, so the product is formed once and nothing is left to compute at each step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::naming;
use super::text_encoder::TextEncoder;
use super::unet::Unet;
use crate::directory::read;
use crate::error::ModelError;
use crate::weights::streaming::shapes;
use crate::weights::{NameList, Path as Name};

mod file;

use file::Layer;

/// An adapter of a Stable Diffusion model. Cloning shares it.
#[derive(Debug, Clone)]
pub struct DiffusionLora {
    path: PathBuf,
    scale: f64,
    layers: Arc<BTreeMap<String, Layer>>,
}

/// The two networks that adapters have layers of, as their names begin with PEFT and with kohya's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Unet,
    TextEncoder,
}

impl Network {
    fn prefixes(self) -> [&'static str; 2] {
        match self {
            Self::Unet => ["unet.", "lora_unet_"],
            Self::TextEncoder => ["text_encoder.", "lora_te_"],
        }
    }

    /// What a layer of ours may be called.
    fn names(self, ours: &str) -> Vec<String> {
        let theirs = match self {
            Self::Unet => naming::unet(&format!("{ours}.")).trim_end_matches('.').to_owned(),
            Self::TextEncoder => ours.to_owned(),
        };
        let [peft, kohya] = self.prefixes();
        let mut names = vec![
            format!("{peft}{theirs}"),
            format!("{kohya}{}", theirs.replace('.', "_")),
        ];
        // Without its outermost level, which transformers 5 leaves out.
        if let Some(bare) = theirs.strip_prefix("text_model.") {
            names.push(format!("{peft}{bare}"));
        }
        names
    }
}

impl DiffusionLora {
    /// Reads a `.safetensors` file, to be added `scale` times.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] when it cannot be read, is not finite, has a layer without one of its
    /// factors, or something that is no factor of a low-rank adapter.
    pub fn read(path: &Path, scale: f64) -> Result<Self, ModelError> {
        let bytes = read(path)?;
        let layers = file::layers(&bytes).map_err(|error| error.in_file(path))?;
        Ok(Self {
            path: path.to_owned(),
            scale,
            layers: Arc::new(layers),
        })
    }

    /// Refuses layers that neither network has, and factors of other shapes.
    ///
    /// # Errors
    /// [`ModelError::Content`] with the layers.
    pub fn check(&self, unet: &Unet, text_encoder: &TextEncoder) -> Result<(), ModelError> {
        let mut foreign: BTreeSet<&String> = self.layers.keys().collect();
        for (network, weights) in [
            (Network::Unet, shapes(unet)),
            (Network::TextEncoder, shapes(text_encoder)),
        ] {
            for (weight, shape) in &weights {
                if let Some((name, layer)) = self.layer_of(network, weight) {
                    Sides::of(layer, name, shape).map_err(|reason| self.content(reason))?;
                    foreign.remove(name);
                }
            }
        }
        if foreign.is_empty() {
            return Ok(());
        }
        let list = NameList(foreign.into_iter().cloned().collect());
        Err(self.content(format!(
            "the model has no layers {list}: an adapter of another model"
        )))
    }

    /// The adapter's layer for a weight of ours, with its name.
    fn layer_of(&self, network: Network, weight: &str) -> Option<(&String, &Layer)> {
        let names = network.names(weight.strip_suffix(".weight")?);
        names.iter().find_map(|name| self.layers.get_key_value(name))
    }

    /// The U-net with the adapter folded in.
    ///
    /// # Errors
    /// [`ModelError::Content`] for a factor of another shape.
    pub(super) fn fold_into_unet(&self, unet: Unet) -> Result<Unet, ModelError> {
        self.fold(unet, Network::Unet)
    }

    /// The text encoder with the adapter folded in.
    ///
    /// # Errors
    /// [`ModelError::Content`] for a factor of another shape.
    pub(super) fn fold_into_text_encoder(&self, encoder: TextEncoder) -> Result<TextEncoder, ModelError> {
        self.fold(encoder, Network::TextEncoder)
    }

    fn fold<M: Module>(&self, module: M, network: Network) -> Result<M, ModelError> {
        let mut folder = Folder {
            path: Name::default(),
            lora: self,
            network,
            failure: None,
        };
        let module = module.map(&mut folder);
        match folder.failure {
            Some(reason) => Err(self.content(reason)),
            None => Ok(module),
        }
    }

    fn content(&self, reason: String) -> ModelError {
        ModelError::Content {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The sides of a layer's product.
struct Sides {
    output: usize,
    input: usize,
    rank: usize,
    /// Whether the weight is a matrix, which lies transposed here.
    is_matrix: bool,
}

impl Sides {
    /// Those of the factors of a weight of this shape, in the module's layout.
    ///
    /// # Errors
    /// When the factors are those of another layer.
    fn of(layer: &Layer, name: &str, shape: &[usize]) -> Result<Self, String> {
        let is_matrix = shape.len() == 2;
        let (output, input) = match (is_matrix, shape) {
            (true, _) => (shape[1], shape[0]),
            (false, [output, rest @ ..]) => (*output, rest.iter().product()),
            (false, []) => (1, 1),
        };
        let rank = layer.down.shape()[0];
        if layer.down.num_elements() != rank * input || layer.up.num_elements() != output * rank {
            return Err(format!(
                "layer {name}: factors {:?} and {:?} are not those of a layer from {input} to {output}",
                layer.down.shape().to_vec(),
                layer.up.shape().to_vec()
            ));
        }
        Ok(Self {
            output,
            input,
            rank,
            is_matrix,
        })
    }
}

struct Folder<'a> {
    path: Name,
    lora: &'a DiffusionLora,
    network: Network,
    failure: Option<String>,
}

impl Folder<'_> {
    /// What is added to a weight of this name and shape, in the module's layout.
    fn addition(&self, weight: &str, shape: &[usize]) -> Result<Option<TensorData>, String> {
        let Some((name, layer)) = self.lora.layer_of(self.network, weight) else {
            return Ok(None);
        };
        let Sides {
            output,
            input,
            rank,
            is_matrix,
        } = Sides::of(layer, name, shape)?;
        let strength = self.lora.scale * layer.alpha.unwrap_or(rank as f64) / rank as f64;
        let factor = |data: &TensorData, shape: [usize; 2]| {
            let values: Vec<f32> = data.iter().collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), &Device::flex())
        };
        let product = factor(&layer.up, [output, rank]).matmul(factor(&layer.down, [rank, input])) * strength;
        let product = if is_matrix { product.transpose() } else { product };
        let sum: Vec<f32> = product.into_data().iter().collect();
        Ok(Some(TensorData::new(sum, shape.to_vec())))
    }
}

impl ModuleMapper for Folder<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape().to_vec();
        match self.addition(&self.path.name(), &shape) {
            Ok(None) => param,
            Ok(Some(addition)) => {
                let id = param.id;
                let weight = param.val();
                let (device, dtype) = (weight.device(), weight.dtype());
                let added = Tensor::<D>::from_data(addition, (&device, DType::F32));
                let sum = (weight.cast(DType::F32) + added).cast(dtype);
                param.transform_for_load(sum, id)
            }
            Err(reason) => {
                self.failure.get_or_insert(reason);
                param
            }
        }
    }
}

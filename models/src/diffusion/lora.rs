//! Adapters of diffusion models: read in the two ways they are named, folded into the weights when those are read.
//!
//! A generator's networks are not trained here, so the product is formed once and nothing is left to compute at each step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::SafeTensors;
use serde_json::Value;

use super::naming;
use super::text_encoder::TextEncoder;
use super::unet::Unet;
use crate::directory::read;
use crate::error::ModelError;
use crate::weights::{NameList, check_finite, from_safetensors};

/// How the two factors and the strength are called behind a layer's name: PEFT's, kohya's and diffusers' earlier spelling.
const DOWN: [&str; 3] = [".lora_A.weight", ".lora_down.weight", ".lora.down.weight"];
const UP: [&str; 3] = [".lora_B.weight", ".lora_up.weight", ".lora.up.weight"];
const ALPHA: &str = ".alpha";

/// An adapter of a Stable Diffusion model.
#[derive(Debug, Clone)]
pub struct DiffusionLora {
    path: PathBuf,
    scale: f64,
    layers: BTreeMap<String, Layer>,
}

/// What is added to one layer: `strength * up * down`.
#[derive(Debug, Clone, Default)]
struct Layer {
    /// `[rank, input]`, a convolution's input flattened.
    down: Option<TensorData>,
    /// `[output, rank]`.
    up: Option<TensorData>,
    alpha: Option<f64>,
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

    /// Both names of a layer of ours.
    fn names(self, ours: &str) -> [String; 2] {
        let theirs = match self {
            Self::Unet => naming::unet(&format!("{ours}.")).trim_end_matches('.').to_owned(),
            Self::TextEncoder => ours.to_owned(),
        };
        let [peft, kohya] = self.prefixes();
        [
            format!("{peft}{theirs}"),
            format!("{kohya}{}", theirs.replace('.', "_")),
        ]
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
        let parsed = parse(&bytes).map_err(|error| error.in_file(path))?;
        Ok(Self {
            path: path.to_owned(),
            scale,
            layers: parsed,
        })
    }

    /// Refuses layers that neither network has.
    ///
    /// # Errors
    /// [`ModelError::Content`] with their names.
    pub fn check(&self, unet: &Unet, text_encoder: &TextEncoder) -> Result<(), ModelError> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        for (network, names) in [
            (Network::Unet, crate::weights::streaming::parameters(unet)),
            (
                Network::TextEncoder,
                crate::weights::streaming::parameters(text_encoder),
            ),
        ] {
            let layers = names.iter().filter_map(|name| name.strip_suffix(".weight"));
            known.extend(layers.flat_map(|layer| network.names(layer)));
        }
        let foreign = self.layers.keys().filter(|layer| !known.contains(*layer));
        let foreign: Vec<String> = foreign.cloned().collect();
        if foreign.is_empty() {
            return Ok(());
        }
        let list = NameList(foreign);
        Err(self.content(format!(
            "the model has no layers {list}: an adapter of another model"
        )))
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
            path: crate::weights::Path::default(),
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

fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Layer>, ModelError> {
    let tensors = from_safetensors(bytes)?;
    check_finite(&tensors)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let alphas = alphas(metadata.metadata().as_ref())?;
    let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
    let mut foreign = vec![];
    for (name, data) in tensors {
        let part = |endings: &[&str]| {
            endings
                .iter()
                .find_map(|ending| name.strip_suffix(ending))
                .map(str::to_owned)
        };
        if let Some(layer) = part(&DOWN) {
            layers.entry(layer).or_default().down = Some(data);
        } else if let Some(layer) = part(&UP) {
            layers.entry(layer).or_default().up = Some(data);
        } else if let Some(layer) = part(&[ALPHA]) {
            layers.entry(layer).or_default().alpha = data.iter::<f64>().next();
        } else {
            foreign.push(name);
        }
    }
    let adapter = |reason: String| ModelError::Adapter { reason };
    if !foreign.is_empty() {
        let list = NameList(foreign);
        return Err(adapter(format!(
            "{list}: expected the two factors of low-rank layers"
        )));
    }
    if let Some((name, _)) = layers
        .iter()
        .find(|(_, layer)| layer.up.is_none() || layer.down.is_none())
    {
        return Err(adapter(format!("layer {name} has one factor, expected two")));
    }
    let factors = |layer: &Layer| [layer.down.clone(), layer.up.clone()].into_iter().flatten();
    let is_factor = |data: &TensorData| [2, 4].contains(&data.rank()) && data.num_elements() > 0;
    if let Some((name, _)) = layers
        .iter()
        .find(|(_, layer)| !factors(layer).all(|data| is_factor(&data)))
    {
        return Err(adapter(format!(
            "layer {name}: expected factors of rank 2 or 4 that are not empty"
        )));
    }
    for (name, layer) in &mut layers {
        let network = name.split('.').next().unwrap_or_default();
        layer.alpha = layer.alpha.or_else(|| alphas.get(network).copied());
    }
    Ok(layers)
}

/// The strength of each network's adapter where diffusers has noted it in the file.
fn alphas(metadata: Option<&HashMap<String, String>>) -> Result<BTreeMap<String, f64>, ModelError> {
    const NOTED: &str = "lora_adapter_metadata";
    let Some(json) = metadata.and_then(|metadata| metadata.get(NOTED)) else {
        return Ok(BTreeMap::new());
    };
    let adapter = |reason: String| ModelError::Adapter { reason };
    let noted: BTreeMap<String, Value> =
        serde_json::from_str(json).map_err(|error| adapter(format!("{NOTED}: not valid JSON: {error}")))?;
    let asks = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    // Each of them changes how strong a layer is.
    let others = [".alpha_pattern", ".rank_pattern", ".use_rslora", ".use_dora"];
    let other = noted
        .iter()
        .find(|(key, value)| others.iter().any(|end| key.ends_with(end)) && asks(value));
    if let Some((key, value)) = other {
        return Err(adapter(format!("{NOTED}: {key} = {value}: not built here")));
    }
    let alpha = |(key, value): (String, Value)| {
        let network = key.strip_suffix(".lora_alpha")?;
        Some((network.to_owned(), value.as_f64()?))
    };
    Ok(noted.into_iter().filter_map(alpha).collect())
}

struct Folder<'a> {
    path: crate::weights::Path,
    lora: &'a DiffusionLora,
    network: Network,
    failure: Option<String>,
}

impl Folder<'_> {
    /// What is added to a weight of this name and shape, in the module's layout.
    fn addition(&self, name: &str, shape: &[usize]) -> Result<Option<TensorData>, String> {
        let Some(ours) = name.strip_suffix(".weight") else {
            return Ok(None);
        };
        let names = self.network.names(ours);
        let Some((theirs, layer)) = names.iter().find_map(|name| self.lora.layers.get_key_value(name)) else {
            return Ok(None);
        };
        let (Some(down), Some(up)) = (&layer.down, &layer.up) else {
            return Ok(None);
        };
        let is_matrix = shape.len() == 2;
        // A matrix lies transposed here.
        let (output, input) = match is_matrix {
            true => (shape[1], shape[0]),
            false => (shape[0], shape[1..].iter().product()),
        };
        let rank = down.shape()[0];
        if down.num_elements() != rank * input || up.num_elements() != output * rank {
            return Err(format!(
                "layer {theirs}: factors {:?} and {:?} are not those of a layer from {input} to {output}",
                down.shape().to_vec(),
                up.shape().to_vec()
            ));
        }
        let strength = self.lora.scale * layer.alpha.unwrap_or(rank as f64) / rank as f64;
        let factor = |data: &TensorData, shape: [usize; 2]| {
            let values: Vec<f32> = data.iter().collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), &Device::flex())
        };
        let product = factor(up, [output, rank]).matmul(factor(down, [rank, input])) * strength;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use safetensors::tensor::TensorView;
    use safetensors::{Dtype, serialize};

    use super::*;

    /// A file of these tensors, all zero, with metadata.
    fn file(tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> Vec<u8> {
        let zeros = vec![0u8; 4096];
        let view = |shape: &[usize]| {
            let length = 4 * shape.iter().product::<usize>();
            TensorView::new(Dtype::F32, shape.to_vec(), &zeros[..length]).unwrap()
        };
        let tensors: BTreeMap<&str, TensorView<'_>> =
            tensors.iter().map(|(name, shape)| (*name, view(shape))).collect();
        let metadata = metadata
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        serialize(tensors, Some(metadata.collect())).unwrap()
    }

    fn refused(tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> String {
        parse(&file(tensors, metadata)).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_low_rank_adapter_is_refused_by_name() {
        let (down, up) = ("unet.a.lora_A.weight", "unet.a.lora_B.weight");
        let good: [(&str, &[usize]); 2] = [(down, &[2, 4]), (up, &[3, 2])];
        assert_eq!(parse(&file(&good, &[])).unwrap().len(), 1);
        assert!(refused(&[(down, &[2, 4])], &[]).contains("one factor"));
        assert!(refused(&[("unet.a.hada_w1_a", &[2, 4])], &[]).contains("hada_w1_a"));
        for shape in [&[][..], &[4], &[0, 4]] {
            assert!(refused(&[(down, shape), (up, &[3, 2])], &[]).contains("rank 2 or 4"));
        }
        for json in [
            r#"{"unet.use_rslora": true}"#,
            r#"{"unet.alpha_pattern": {"a": 3}}"#,
            "{",
        ] {
            let said = refused(&good, &[("lora_adapter_metadata", json)]);
            assert!(said.contains("lora_adapter_metadata"), "{said}");
        }
    }
}

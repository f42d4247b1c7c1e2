//! An adapter's file: its layers by name, however the two factors of each are spelled.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::TensorData;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::error::ModelError;
use crate::weights::{NameList, check_finite, from_safetensors};

/// How the two factors and the strength are called behind a layer's name: PEFT's, kohya's and diffusers' earlier spellings.
const DOWN: [&str; 4] = [
    ".lora_A.weight",
    ".lora_down.weight",
    ".lora.down.weight",
    ".lora_linear_layer.down.weight",
];
const UP: [&str; 4] = [
    ".lora_B.weight",
    ".lora_up.weight",
    ".lora.up.weight",
    ".lora_linear_layer.up.weight",
];
const ALPHA: &str = ".alpha";

/// What is added to one layer: `alpha / rank * up * down`.
#[derive(Debug)]
pub(super) struct Layer {
    /// `[rank, input]`, a convolution's input in several dimensions.
    pub(super) down: TensorData,
    /// `[output, rank]`.
    pub(super) up: TensorData,
    /// None where the file does not say: then it is the rank.
    pub(super) alpha: Option<f64>,
}

/// A part of a layer.
enum Role {
    Down,
    Up,
    Alpha,
}

/// The layers of a file.
///
/// # Errors
/// [`ModelError::Adapter`] for a tensor that is no part of a low-rank layer or part of one twice, a layer without one of its factors,
/// factors of another rank, and metadata that asks for another strength than one alpha for all.
pub(super) fn layers(bytes: &[u8]) -> Result<BTreeMap<String, Layer>, ModelError> {
    let tensors = from_safetensors(bytes)?;
    check_finite(&tensors)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let alphas = alphas(metadata.metadata().as_ref())?;
    let (mut downs, mut ups, mut own) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut foreign = vec![];
    for (name, data) in tensors {
        let is_again = match part(&name) {
            Some((layer, Role::Down)) => downs.insert(layer, data).is_some(),
            Some((layer, Role::Up)) => ups.insert(layer, data).is_some(),
            Some((layer, Role::Alpha)) => own.insert(layer, data.iter::<f64>().next()).is_some(),
            None => {
                foreign.push(name.clone());
                false
            }
        };
        if is_again {
            return Err(refused(format!(
                "{name} is there a second time under another name, expected once"
            )));
        }
    }
    if !foreign.is_empty() {
        let list = NameList(foreign);
        return Err(refused(format!(
            "{list}: expected the two factors of low-rank layers; other kinds of adapters are not built here"
        )));
    }
    let joined = downs.into_iter().map(|(name, down)| {
        let up = ups.remove(&name).ok_or_else(|| lonely(&name))?;
        for factor in [&down, &up] {
            if ![2, 4].contains(&factor.rank()) || factor.num_elements() == 0 {
                return Err(refused(format!(
                    "layer {name}: a factor of shape {:?}, expected rank 2 or 4 and no side of 0",
                    factor.shape().to_vec()
                )));
            }
        }
        let network = name.split('.').next().unwrap_or_default();
        let alpha = own.remove(&name).flatten();
        let alpha = alpha.or_else(|| alphas.get(network).copied());
        Ok((name, Layer { down, up, alpha }))
    });
    let layers = joined.collect::<Result<_, ModelError>>()?;
    match ups.into_keys().chain(own.into_keys()).next() {
        Some(name) => Err(lonely(&name)),
        None => Ok(layers),
    }
}

/// The layer that a tensor belongs to, under diffusers' present name or kohya's, and as what.
fn part(name: &str) -> Option<(String, Role)> {
    let strip = |endings: &[&str]| endings.iter().find_map(|ending| name.strip_suffix(ending));
    if let Some(layer) = strip(&DOWN) {
        return Some((layer.to_owned(), Role::Down));
    }
    if let Some(layer) = strip(&UP) {
        return Some((layer.to_owned(), Role::Up));
    }
    if let Some(layer) = strip(&[ALPHA]) {
        return Some((layer.to_owned(), Role::Alpha));
    }
    // `..attn1.processor.to_q_lora.down.weight`, before diffusers 0.20; often without the network, which is the U-net.
    let (attention, layer) = name.split_once(".processor.")?;
    let (layer, role) = match layer.strip_suffix("_lora.down.weight") {
        Some(layer) => (layer, Role::Down),
        None => (layer.strip_suffix("_lora.up.weight")?, Role::Up),
    };
    let layer = if layer == "to_out" { "to_out.0" } else { layer };
    let attention = attention.strip_prefix("unet.").unwrap_or(attention);
    Some((format!("unet.{attention}.{layer}"), role))
}

fn lonely(layer: &str) -> ModelError {
    refused(format!("layer {layer} has one factor, expected two"))
}

fn refused(reason: String) -> ModelError {
    ModelError::Adapter { reason }
}

/// The strength of each network's adapter where diffusers has noted it in the file.
fn alphas(metadata: Option<&HashMap<String, String>>) -> Result<BTreeMap<String, f64>, ModelError> {
    const NOTED: &str = "lora_adapter_metadata";
    let Some(json) = metadata.and_then(|metadata| metadata.get(NOTED)) else {
        return Ok(BTreeMap::new());
    };
    let noted: BTreeMap<String, Value> =
        serde_json::from_str(json).map_err(|error| refused(format!("{NOTED}: not valid JSON: {error}")))?;
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
        return Err(refused(format!("{NOTED}: {key} = {value}: not built here")));
    }
    let alpha = |(key, value): (String, Value)| {
        let network = key.strip_suffix(".lora_alpha")?;
        Some((network.to_owned(), value.as_f64()?))
    };
    Ok(noted.into_iter().filter_map(alpha).collect())
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
        layers(&file(tensors, metadata)).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_low_rank_adapter_is_refused_by_name() {
        let (down, up) = ("unet.a.lora_A.weight", "unet.a.lora_B.weight");
        let good: [(&str, &[usize]); 2] = [(down, &[2, 4]), (up, &[3, 2])];
        assert_eq!(layers(&file(&good, &[])).unwrap().len(), 1);
        assert!(refused(&[(down, &[2, 4])], &[]).contains("one factor"));
        assert!(refused(&[("unet.a.hada_w1_a", &[2, 4])], &[]).contains("hada_w1_a"));
        let again: [(&str, &[usize]); 3] = [
            (down, &[2, 4]),
            ("unet.a.lora.down.weight", &[2, 4]),
            (up, &[3, 2]),
        ];
        assert!(refused(&again, &[]).contains("second time"));
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

//! What PEFT writes beside an adapter of the head: the base's own head. The base has it, so it is compared and not taken.

use burn::tensor::{Tensor, TensorData};

use crate::error::ModelError;
use crate::weights::NamedTensors;

/// How its name ends, behind that of the branch.
const COPY: &str = ".base_layer.weight";

/// By how much a number may differ, as a share of the largest: what rounding to bf16 may make of it.
const ROUNDING: f32 = 1.0 / 128.0;

/// Takes the copies out of what an adapter's file holds.
pub(super) fn taken_from(weights: &mut NamedTensors) -> NamedTensors {
    let names: Vec<String> = weights
        .keys()
        .filter(|name| name.ends_with(COPY))
        .cloned()
        .collect();
    let taken = |name: String| weights.remove(&name).map(|data| (name, data));
    names.into_iter().filter_map(taken).collect()
}

/// The copy of what the branch of this name stands beside.
pub(crate) fn of_branch<'a>(copies: &'a NamedTensors, branch: &str) -> Option<&'a TensorData> {
    copies.get(&format!("{branch}{COPY}"))
}

/// The branches that there are copies for.
pub(super) fn branches(copies: &NamedTensors) -> impl Iterator<Item = &str> {
    copies.keys().filter_map(|name| name.strip_suffix(COPY))
}

/// Refuses a copy of another weight than the base's, `[out, in]` both.
///
/// # Errors
/// [`ModelError::Adapter`] with the branch.
pub(crate) fn check(copy: &TensorData, base: &TensorData, branch: &str) -> Result<(), ModelError> {
    let device = burn::tensor::Device::flex();
    let f32s = |data: &TensorData| -> Tensor<2> {
        let data = data.clone().convert_dtype(burn::tensor::DType::F32);
        Tensor::from_data(data, (&device, burn::tensor::DType::F32))
    };
    let is_same = copy.shape() == base.shape() && {
        let (copy, base) = (f32s(copy), f32s(base));
        let largest = base.clone().abs().max().into_scalar::<f32>();
        (copy - base).abs().max().into_scalar::<f32>() <= ROUNDING * largest
    };
    match is_same {
        true => Ok(()),
        false => Err(ModelError::Adapter {
            reason: format!(
                "it belongs to another base: {branch}{COPY}, which PEFT copied from its base, is not what this one has"
            ),
        }),
    }
}

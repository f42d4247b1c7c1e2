//! What is done side by side on a CPU, whose kernels for single numbers use one core each. A card does it in one pass.

use burn::tensor::Device;
use rayon::prelude::*;

pub(super) fn is_it(device: &Device) -> bool {
    *device == Device::flex()
}

/// Each result in its place; on a CPU side by side. What is computed does not depend on how many cores there are.
pub(super) fn map<T: Send, R: Send>(
    parts: Vec<T>,
    device: &Device,
    compute: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    match is_it(device) {
        true => parts.into_par_iter().map(compute).collect(),
        false => parts.into_iter().map(compute).collect(),
    }
}

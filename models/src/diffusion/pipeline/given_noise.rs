//! Noise to begin with that somebody else drew, such as diffusers' `latents`.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};

use crate::directory::read;
use crate::error::ModelError;
use crate::weights::{check_finite, from_safetensors};

/// What a file with several tensors calls it.
const NAME: &str = "latents";

/// Noise of one picture for all, or of each its own; of deviation 1, as diffusers takes it.
#[derive(Debug, Clone)]
pub struct GivenNoise(pub(super) Tensor<4>);

impl GivenNoise {
    /// `[pictures or 1, 4, height / 8, width / 8]`.
    pub fn new(noise: Tensor<4>) -> Self {
        Self(noise)
    }

    /// Reads a safetensors file with one tensor, or with one called `latents`.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] when it cannot be read, holds no such tensor, one of another rank, or one
    /// that is not finite.
    pub fn read(path: &Path, device: &Device) -> Result<Self, ModelError> {
        let content = |reason: String| ModelError::Content {
            path: path.to_owned(),
            reason,
        };
        let mut tensors = from_safetensors(&read(path)?).map_err(|error| error.in_file(path))?;
        check_finite(&tensors).map_err(|error| error.in_file(path))?;
        let only = if tensors.len() == 1 {
            tensors.pop_first().map(|(_, tensor)| tensor)
        } else {
            tensors.remove(NAME)
        };
        let noise = only.ok_or_else(|| {
            content(format!(
                "{} tensors, expected one, or one called {NAME}",
                tensors.len()
            ))
        })?;
        if noise.rank() != 4 {
            let shape = noise.shape().to_vec();
            return Err(content(format!(
                "a tensor of shape {shape:?}, expected [pictures, 4, height / 8, width / 8]"
            )));
        }
        Ok(Self(Tensor::from_data(
            noise.convert_dtype(DType::F32),
            (device, DType::F32),
        )))
    }

    /// Width and height in pixels of the pictures that Stable Diffusion paints from it.
    pub fn picture_size(&self) -> (usize, usize) {
        const FACTOR: usize = 8;
        let [_, _, height, width] = self.0.dims();
        (width.saturating_mul(FACTOR), height.saturating_mul(FACTOR))
    }

    /// For how many pictures it is; 1 is for all.
    pub fn count(&self) -> usize {
        self.0.dims()[0]
    }

    /// That of some of the pictures; all of it where it is for all.
    pub fn part(&self, first: usize, count: usize) -> Self {
        match self.count() {
            1 => self.clone(),
            all => Self(self.0.clone().narrow(0, first, count.min(all - first))),
        }
    }

    /// That of one picture.
    pub(super) fn of(&self, index: usize) -> Tensor<4> {
        let row = if self.count() == 1 { 0 } else { index };
        self.0.clone().narrow(0, row, 1)
    }
}

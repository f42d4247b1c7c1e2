//! Where tensors live: the string a user gives as `--device`.
//!
//! Burn's own default device is never used: it prefers whatever backend was compiled in and panics where the
//! hardware for it is missing. Nothing here starts a device; a GPU is only counted.

use burn::tensor::{DType, Device};

use crate::error::ModelError;

/// Where a network computes, and in which number format its frozen weights are.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Where, without an autodiff context.
    pub device: Device,
    /// f32 or bf16.
    pub dtype: DType,
}

impl Placement {
    /// Single precision on the CPU.
    pub fn cpu() -> Self {
        Self {
            device: Device::flex(),
            dtype: DType::F32,
        }
    }

    /// Has the device give back the memory that it keeps for tensors to come, once those that used it are gone. What it keeps for itself
    /// stays, on a GPU some hundred MB. Blocks.
    pub fn give_back_memory(&self) {
        self.device.memory_cleanup();
    }

    /// Parses both. Reaches for the device's driver.
    ///
    /// # Errors
    /// Those of [`parse_device`]; [`ModelError::Config`] when the format is neither `f32` nor `bf16`, or the device does
    /// not compute in it.
    pub fn parse(device: &str, dtype: &str) -> Result<Self, ModelError> {
        let device = parse_device(device)?;
        let dtype = parse_dtype(dtype, &device)?;
        Ok(Self { device, dtype })
    }
}

/// Parses `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// The device carries no autodiff context; training wraps it with [`Device::autodiff`].
///
/// # Errors
/// [`ModelError::Device`] when the string is none of these, when the binary was built without the `cuda`
/// feature, or when the machine has no such GPU.
pub fn parse_device(given: &str) -> Result<Device, ModelError> {
    let failed = |reason: String| ModelError::Device {
        given: given.to_owned(),
        reason,
    };
    match given.split_once(':') {
        None if given == "cpu" => Ok(Device::flex()),
        None if given == "cuda" => cuda(0).map_err(failed),
        Some(("cuda", index)) => {
            let index = index
                .parse()
                .map_err(|_| failed("expected a number after cuda:".into()))?;
            cuda(index).map_err(failed)
        }
        _ => Err(failed("expected cpu, cuda or cuda:N".into())),
    }
}

fn parse_dtype(given: &str, device: &Device) -> Result<DType, ModelError> {
    let wrong = |expected| ModelError::Config {
        key: "dtype",
        value: format!("{given:?}"),
        expected,
    };
    match given {
        "f32" => Ok(DType::F32),
        "bf16" if device.supports_dtype(DType::BF16) => Ok(DType::BF16),
        "bf16" => Err(wrong("f32: this device does not compute in bf16")),
        _ => Err(wrong("f32 or bf16")),
    }
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, String> {
    use burn::tensor::DeviceType;
    match Device::enumerate(DeviceType::Cuda).len() {
        0 => Err("no CUDA GPU or driver found; use cpu".into()),
        found if index >= found => Err(format!("this machine has {found} CUDA GPU(s), numbered from 0")),
        _ => Ok(Device::cuda(index)),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Device, String> {
    Err("this binary was built without CUDA; build with --features cuda, or use cpu".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_always_there_and_has_no_autodiff_context() {
        assert!(!parse_device("cpu").unwrap().is_autodiff());
    }

    #[test]
    fn anything_else_names_what_would_be_right() {
        for given in ["", "CPU", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", " cpu"] {
            let message = parse_device(given).unwrap_err().to_string();
            assert!(message.contains(&format!("{given:?}")), "{message}");
            assert!(message.contains("cuda"), "{message}");
        }
    }

    #[test]
    fn a_number_format_is_one_of_two() {
        let cpu = Device::flex();
        assert_eq!(parse_dtype("f32", &cpu).unwrap(), DType::F32);
        assert_eq!(parse_dtype("bf16", &cpu).unwrap(), DType::BF16);
        let message = parse_dtype("f16", &cpu).unwrap_err().to_string();
        assert_eq!(message, "dtype = \"f16\": expected f32 or bf16");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_binary_without_cuda_says_how_to_build_one() {
        for given in ["cuda", "cuda:3"] {
            assert!(
                parse_device(given)
                    .unwrap_err()
                    .to_string()
                    .contains("--features cuda")
            );
        }
    }
}

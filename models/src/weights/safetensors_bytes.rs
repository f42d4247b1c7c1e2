//! Named tensors as the bytes of a safetensors file, and back.
//!
//! Equal tensors give equal bytes: tensors are written by number format, then name, and at most one metadata
//! entry is allowed because the format's writer keeps them in a map without order. Readers get a typed error
//! for truncated bytes and for headers that lie about sizes or offsets; the format's own crate checks them.

use std::borrow::Cow;
use std::collections::HashMap;

use burn::tensor::{DType, TensorData, bf16, f16};
use safetensors::{Dtype, SafeTensors, View};

use super::NamedTensors;
use crate::error::ModelError;

/// The bytes of a safetensors file with `tensors`, in their present layout, and one optional metadata entry.
///
/// # Errors
/// [`ModelError::WeightDtype`] for a number format other than f32, bf16, f16, f64, i64, i32 and u8.
pub fn to_safetensors(tensors: &NamedTensors, metadata: Option<(&str, &str)>) -> Result<Vec<u8>, ModelError> {
    let entries = tensors
        .iter()
        .map(|(name, data)| {
            Ok((
                name,
                Entry {
                    data,
                    dtype: file_dtype(name, data.dtype())?,
                },
            ))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_owned(), value.to_owned())]));
    Ok(safetensors::serialize(entries, metadata)?)
}

/// Reads the bytes of a safetensors file; metadata is ignored.
///
/// # Errors
/// [`ModelError::Safetensors`] for bytes that are not a well-formed file, [`ModelError::WeightDtype`] for a
/// number format other than those of [`to_safetensors`].
pub fn from_safetensors(bytes: &[u8]) -> Result<NamedTensors, ModelError> {
    let file = SafeTensors::deserialize(bytes)?;
    file.iter()
        .map(|(name, view)| {
            let data = tensor_data(name, view.dtype(), view.shape().to_vec(), view.data())?;
            Ok((name.to_owned(), data))
        })
        .collect()
}

struct Entry<'a> {
    data: &'a TensorData,
    dtype: Dtype,
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.data.shape().as_slice()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.data.as_bytes().into()
    }

    fn data_len(&self) -> usize {
        self.data.as_bytes().len()
    }
}

fn file_dtype(name: &str, dtype: DType) -> Result<Dtype, ModelError> {
    Ok(match dtype {
        DType::F32 => Dtype::F32,
        DType::BF16 => Dtype::BF16,
        DType::F16 => Dtype::F16,
        DType::F64 => Dtype::F64,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::U8 => Dtype::U8,
        found => return Err(unknown_dtype(name, format!("{found:?}"))),
    })
}

/// A tensor of little-endian bytes, as many as its shape needs.
///
/// Copied element by element into a vector of its own type: the bytes need not be aligned.
///
/// # Errors
/// [`ModelError::WeightDtype`] for a number format other than those of [`to_safetensors`].
pub(super) fn tensor_data(
    name: &str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &[u8],
) -> Result<TensorData, ModelError> {
    Ok(match dtype {
        Dtype::F32 => TensorData::new(elements(bytes, f32::from_le_bytes), shape),
        Dtype::BF16 => TensorData::new(elements(bytes, bf16::from_le_bytes), shape),
        Dtype::F16 => TensorData::new(elements(bytes, f16::from_le_bytes), shape),
        Dtype::F64 => TensorData::new(elements(bytes, f64::from_le_bytes), shape),
        Dtype::I64 => TensorData::new(elements(bytes, i64::from_le_bytes), shape),
        Dtype::I32 => TensorData::new(elements(bytes, i32::from_le_bytes), shape),
        Dtype::U8 => TensorData::new(bytes.to_vec(), shape),
        found => return Err(unknown_dtype(name, found.to_string())),
    })
}

fn elements<E, const N: usize>(bytes: &[u8], from_le_bytes: impl Fn([u8; N]) -> E) -> Vec<E> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|chunk| from_le_bytes(*chunk))
        .collect()
}

fn unknown_dtype(name: &str, found: String) -> ModelError {
    let expected = "F32, BF16, F16, F64, I64, I32 or U8".to_owned();
    ModelError::WeightDtype {
        name: name.to_owned(),
        expected,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> NamedTensors {
        NamedTensors::from([
            (
                "b.weight".into(),
                TensorData::from([[1.0f32, -2.0], [0.5, f32::MIN_POSITIVE]]),
            ),
            (
                "a.weight".into(),
                TensorData::new(vec![bf16::from_f32(1.5); 3], [3]),
            ),
            ("count".into(), TensorData::new(vec![7i64], [1])),
            ("empty".into(), TensorData::new(Vec::<f32>::new(), [0, 4])),
        ])
    }

    #[test]
    fn what_is_written_is_read_back_and_the_bytes_are_the_same_every_time() {
        let bytes = to_safetensors(&sample(), Some(("version", "3"))).unwrap();
        assert_eq!(from_safetensors(&bytes).unwrap(), sample());
        assert_eq!(bytes, to_safetensors(&sample(), Some(("version", "3"))).unwrap());
        assert_ne!(bytes, to_safetensors(&sample(), None).unwrap());
    }

    #[test]
    fn unaligned_bytes_are_read_like_aligned_ones() {
        let bytes = to_safetensors(&sample(), None).unwrap();
        let mut shifted = vec![0];
        shifted.extend(&bytes);
        assert_eq!(from_safetensors(&shifted[1..]).unwrap(), sample());
    }

    #[test]
    fn every_truncation_is_an_error_and_not_a_panic() {
        let bytes = to_safetensors(&sample(), None).unwrap();
        for length in 0..bytes.len() {
            assert!(
                from_safetensors(&bytes[..length]).is_err(),
                "{length} of {}",
                bytes.len()
            );
        }
    }

    #[test]
    fn headers_that_lie_are_errors() {
        let lies = [
            // Offsets past the end, a shape that does not fit its bytes, a shape that overflows, overlapping
            // tensors.
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}"#,
            r#"{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,8]}}"#,
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            r#"{"x":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#,
            r#"not json"#,
        ];
        for header in lies {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend([0; 8]);
            assert!(from_safetensors(&bytes).is_err(), "{header}");
        }
        assert!(from_safetensors(&u64::MAX.to_le_bytes()).is_err());
    }
}

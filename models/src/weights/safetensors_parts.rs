//! The tensors of a safetensors file that lies in memory in parts, such as the chunks in which it was received.
//!
//! Putting the parts together first would hold a large adapter once more. So each tensor is read where it lies, and only the
//! bytes of one that straddles parts are put together, one tensor at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::TensorData;

use super::safetensors_bytes::tensor_data;
use super::safetensors_header::header;
use crate::error::ModelError;

/// Hands over one tensor after the other, in name order: those that [`from_safetensors`](super::from_safetensors) finds in all parts in a
/// row.
///
/// # Errors
/// The same, [`ModelError::SafetensorsHeader`], and what `take` fails with.
pub(super) fn each_tensor(
    parts: &[impl AsRef<[u8]>],
    mut take: impl FnMut(String, TensorData) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let file = Parts::new(parts);
    let read = |range: Range<u64>| Ok(file.get(range.start as usize..range.end as usize));
    let (header, data) = header(file.bytes as u64, read)?;
    let data = data as usize;
    let tensors: BTreeMap<_, _> = header.tensors().into_iter().collect();
    for (name, info) in tensors {
        let (begin, end) = info.data_offsets;
        // The header was checked against the length of the file.
        let bytes = file.get(data + begin..data + end);
        let tensor = tensor_data(&name, info.dtype, info.shape.clone(), &bytes)?;
        take(name, tensor)?;
    }
    Ok(())
}

/// Parts in a row.
struct Parts<'a> {
    /// Each with its place in the whole; none is empty.
    parts: Vec<(usize, &'a [u8])>,
    bytes: usize,
}

impl<'a> Parts<'a> {
    fn new(parts: &'a [impl AsRef<[u8]>]) -> Self {
        let mut bytes = 0;
        let mut placed = Vec::with_capacity(parts.len());
        for part in parts.iter().map(AsRef::as_ref).filter(|part| !part.is_empty()) {
            placed.push((bytes, part));
            bytes += part.len();
        }
        Self { parts: placed, bytes }
    }

    /// The bytes of a range within the whole, where they lie if that is one part.
    fn get(&self, range: Range<usize>) -> Cow<'a, [u8]> {
        let first = self
            .parts
            .partition_point(|(begin, part)| begin + part.len() <= range.start);
        let within = |(begin, part): &(usize, &'a [u8])| {
            let part: &'a [u8] = part;
            &part[range.start.saturating_sub(*begin)..part.len().min(range.end - begin)]
        };
        let touched = self.parts[first..]
            .iter()
            .take_while(|(begin, _)| *begin < range.end);
        let mut pieces = touched.map(within);
        match (pieces.next(), pieces.next()) {
            (None, _) => Cow::Borrowed(&[]),
            (Some(whole), None) => Cow::Borrowed(whole),
            (Some(first), Some(second)) => {
                let mut bytes = Vec::with_capacity(range.len());
                bytes.extend_from_slice(first);
                bytes.extend_from_slice(second);
                pieces.for_each(|piece| bytes.extend_from_slice(piece));
                Cow::Owned(bytes)
            }
        }
    }
}

/// All of them.
#[cfg(test)]
pub(super) fn from_safetensors_parts(parts: &[impl AsRef<[u8]>]) -> Result<super::NamedTensors, ModelError> {
    let mut tensors = super::NamedTensors::new();
    each_tensor(parts, |name, tensor| {
        tensors.insert(name, tensor);
        Ok(())
    })?;
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use burn::tensor::bf16;
    use proptest::prelude::*;

    use super::super::{NamedTensors, from_safetensors, to_safetensors};
    use super::*;

    fn sample() -> NamedTensors {
        let numbers = (0..40).map(|i| i as f32 - 7.5).collect::<Vec<_>>();
        NamedTensors::from([
            ("down_proj.lora_A.weight".into(), TensorData::new(numbers, [5, 8])),
            (
                "a.weight".into(),
                TensorData::new(vec![bf16::from_f32(1.5); 3], [3]),
            ),
            ("count".into(), TensorData::new(vec![7i64], [1])),
            ("empty".into(), TensorData::new(Vec::<f32>::new(), [0, 4])),
        ])
    }

    fn chunks(bytes: &[u8], length: usize) -> Vec<&[u8]> {
        bytes.chunks(length).collect()
    }

    #[test]
    fn any_chunk_size_gives_the_same_tensors() {
        let bytes = to_safetensors(&sample(), Some(("format", "pt"))).unwrap();
        for length in 1..=bytes.len() + 1 {
            let read = from_safetensors_parts(&chunks(&bytes, length)).unwrap();
            assert_eq!(read, sample(), "chunks of {length}");
        }
    }

    #[test]
    fn only_what_straddles_parts_is_put_together() {
        let parts = [&b"abc"[..], b"", b"defg", b"h"];
        let parts = Parts::new(&parts);
        let borrowed = |range| match parts.get(range) {
            Cow::Borrowed(bytes) => bytes,
            Cow::Owned(bytes) => panic!("{bytes:?} were copied"),
        };
        assert_eq!(borrowed(0..3), b"abc");
        assert_eq!(borrowed(4..7), b"efg");
        assert_eq!(borrowed(7..8), b"h");
        assert_eq!(borrowed(8..8), b"");
        assert!(matches!(parts.get(2..8), Cow::Owned(bytes) if bytes == b"cdefgh"));
    }

    #[test]
    fn what_is_no_file_in_a_row_is_none_in_parts() {
        let bytes = to_safetensors(&sample(), None).unwrap();
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert!(from_safetensors_parts(&chunks(cut, 16)).is_err(), "{length}");
        }
        let longer = [&bytes[..], b"x"];
        assert!(from_safetensors_parts(&longer).is_err());
        assert!(from_safetensors_parts(&[u64::MAX.to_le_bytes()]).is_err());
        assert!(from_safetensors_parts(&[[0u8; 0]]).is_err());
    }

    proptest! {
        /// Whatever a byte is changed to, parts are read as the whole is: to the same tensors, or not at all.
        #[test]
        fn damaged_bytes_are_read_in_parts_as_in_a_row(
            place in 0usize..4096, byte in any::<u8>(), length in 1usize..600
        ) {
            let mut bytes = to_safetensors(&sample(), None).unwrap();
            let place = place % bytes.len();
            bytes[place] = byte;
            let whole = from_safetensors(&bytes).ok();
            let parts = from_safetensors_parts(&chunks(&bytes, length)).ok();
            // Not by their values, of which some may be NaN.
            let bits = |tensors: NamedTensors| {
                let tensors = tensors.into_iter();
                let bits = |(name, data): (String, TensorData)| {
                    (name, data.shape().as_slice().to_vec(), data.dtype(), data.as_bytes().to_vec())
                };
                tensors.map(bits).collect::<Vec<_>>()
            };
            prop_assert_eq!(parts.map(bits), whole.map(bits));
        }
    }
}

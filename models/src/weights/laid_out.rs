//! The tensors of a safetensors file in the modules' layout, for whoever reads them beside a policy that is sampled from.
//!
//! They are read, checked and transposed one after the other, so that an adapter of some hundred megabytes is held once; and they lie in
//! a few large pieces of memory. An allocator makes a mapping of its own of such a piece, which goes back to the system when it is let go
//! of. What lies in its heap is given back under a lock, which whoever samples needs for the next tensor: some 80 ms for 660 MB.

use burn::tensor::{Bytes, DType, Element, TensorData, bf16, f16};

use super::hf_layout::{is_transposed, swapped, transpose_onto};
use super::safetensors_parts::each_tensor;
use super::{NamedTensors, check_tensor_finite};
use crate::error::ModelError;

/// Bytes of a piece. glibc takes everything from 32 MiB on as a mapping of its own, whatever it has learned of sizes.
const PIECE: usize = 64 << 20;

/// Reads a file that lies in parts, refuses what is not finite, and answers with what [`swap_hf_layout`](super::swap_hf_layout) makes of
/// it.
///
/// # Errors
/// For the first tensor at fault in name order, those of [`from_safetensors`](super::from_safetensors),
/// [`check_finite`](super::check_finite) and [`swap_hf_layout`](super::swap_hf_layout); [`ModelError::SafetensorsHeader`].
pub fn from_safetensors_laid_out(parts: &[impl AsRef<[u8]>]) -> Result<NamedTensors, ModelError> {
    let bytes = parts.iter().map(|part| part.as_ref().len()).sum();
    in_pieces(parts, PIECE.min(bytes))
}

fn in_pieces(parts: &[impl AsRef<[u8]>], bytes: usize) -> Result<NamedTensors, ModelError> {
    let mut done = NamedTensors::new();
    let mut f32s = Piece::<f32>::new(bytes);
    let mut bf16s = Piece::<bf16>::new(bytes);
    let mut f16s = Piece::<f16>::new(bytes);
    each_tensor(parts, |name, data| {
        check_tensor_finite(&name, &data)?;
        let turned = data.rank() == 2 && is_transposed(&name) == Some(true);
        match data.dtype() {
            DType::F32 if turned => f32s.put(name, &data, &mut done),
            DType::BF16 if turned => bf16s.put(name, &data, &mut done),
            DType::F16 if turned => f16s.put(name, &data, &mut done),
            _ => {
                let data = swapped(&name, &data)?.unwrap_or(data);
                done.insert(name, data);
                Ok(())
            }
        }
    })?;
    f32s.close(&mut done);
    bf16s.close(&mut done);
    f16s.close(&mut done);
    Ok(done)
}

/// Memory for matrices of one number format, and those that lie in it so far.
struct Piece<E> {
    /// How many numbers a piece has room for.
    room: usize,
    values: Vec<E>,
    /// Name, first number and shape of each.
    places: Vec<(String, usize, [usize; 2])>,
}

impl<E: Element> Piece<E> {
    fn new(bytes: usize) -> Self {
        Self {
            room: bytes / size_of::<E>(),
            values: vec![],
            places: vec![],
        }
    }

    /// Adds a matrix, transposed. A piece that has no room for it is done.
    fn put(&mut self, name: String, data: &TensorData, done: &mut NamedTensors) -> Result<(), ModelError> {
        let count = data.shape().num_elements();
        if self.values.len() + count > self.values.capacity() {
            self.close(done);
            self.values.reserve_exact(self.room.max(count));
        }
        let begin = self.values.len();
        let shape = transpose_onto(&name, data, &mut self.values)?;
        self.places.push((name, begin, shape));
        Ok(())
    }

    /// Its matrices share it from now on.
    fn close(&mut self, done: &mut NamedTensors) {
        let piece = Bytes::from_elems(std::mem::take(&mut self.values)).shared();
        for (name, begin, shape) in self.places.drain(..) {
            let end = begin + shape[0] * shape[1];
            let view = piece.view(begin * size_of::<E>(), end * size_of::<E>());
            let view = view.expect("what is shared has views of all its ranges");
            done.insert(name, TensorData::from_bytes(view, shape, E::dtype()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::safetensors_parts::from_safetensors_parts;
    use super::super::{check_finite, swap_hf_layout, to_safetensors};
    use super::*;

    fn numbers(shape: [usize; 2], first: f32) -> TensorData {
        let values = (0..shape[0] * shape[1]).map(|index| first + index as f32);
        TensorData::new(values.collect::<Vec<f32>>(), shape)
    }

    fn sample() -> NamedTensors {
        let brains: Vec<bf16> = (0..6).map(|index| bf16::from_f32(index as f32)).collect();
        NamedTensors::from([
            ("a.q_proj.lora_A.weight".into(), numbers([2, 5], 0.0)),
            ("a.q_proj.lora_B.weight".into(), numbers([5, 2], 10.0)),
            ("b.q_proj.lora_A.weight".into(), TensorData::new(brains, [2, 3])),
            ("c.q_proj.lora_A.weight".into(), numbers([40, 3], 20.0)),
            ("embed_tokens.weight".into(), numbers([3, 2], 200.0)),
            ("norm.weight".into(), TensorData::from([1.0f32, 2.0, 3.0])),
        ])
    }

    /// Whether one tensor's bytes are followed by another's.
    fn adjoin(one: &TensorData, other: &TensorData) -> bool {
        one.as_bytes().as_ptr_range().end == other.as_bytes().as_ptr_range().start
    }

    #[test]
    fn however_large_the_pieces_the_tensors_are_those_that_are_read_and_swapped_at_once() {
        let bytes = to_safetensors(&sample(), None).unwrap();
        let expected = swap_hf_layout(sample()).unwrap();
        for piece in [0, 4, 41, 80, 1 << 20] {
            let parts: Vec<&[u8]> = bytes.chunks(13).collect();
            let found = in_pieces(&parts, piece).unwrap();
            assert_eq!(found, expected, "pieces of {piece} bytes");
            let [first, second] = ["lora_A", "lora_B"].map(|name| &found[&format!("a.q_proj.{name}.weight")]);
            assert_eq!(adjoin(first, second), piece >= 80, "pieces of {piece} bytes");
        }
        assert_eq!(from_safetensors_laid_out(&[&bytes]).unwrap(), expected);
    }

    #[test]
    fn what_is_refused_is_refused_as_before() {
        for (name, data) in [
            ("b.k_proj.lora_A.weight", TensorData::from([[1.0f32, f32::NAN]])),
            ("norm.weight", TensorData::from([f32::INFINITY])),
            ("b.k_proj.lora_A.weight", TensorData::from([[1i64, 2]])),
            ("unheard_of.weight", numbers([2, 2], 0.0)),
        ] {
            let mut tensors = sample();
            tensors.insert(name.into(), data);
            let bytes = to_safetensors(&tensors, None).unwrap();
            let at_once = || {
                let read = from_safetensors_parts(&[&bytes])?;
                check_finite(&read)?;
                swap_hf_layout(read)
            };
            let found = from_safetensors_laid_out(&[&bytes]).unwrap_err().to_string();
            assert_eq!(found, at_once().unwrap_err().to_string());
            assert!(found.contains(name), "{found}");
        }
        assert!(from_safetensors_laid_out(&[b"no file"]).is_err());
    }
}

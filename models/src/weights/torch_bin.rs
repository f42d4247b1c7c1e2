//! Reads the tensors of a PyTorch checkpoint, such as `pytorch_model.bin`: a state dict as `torch.save` writes
//! it since torch 1.6, a zip file with a pickle and one entry for each storage.
//!
//! A pickle is a program, and this module runs none: opcodes, classes and functions that no state dict needs
//! are errors, and the few that are known only describe where the bytes of each tensor lie. Whatever the
//! bytes are, the answer is the tensors or a [`TorchError`], never a panic, and memory is bounded: on opening
//! by the limits named at the constants, on reading by the tensor's own bytes in the file, of which an
//! expanded view may make at most [`MAX_EXPANSION`] times as many.
//!
//! Read are dicts and `OrderedDict`s of tensors and parameters, also views that are transposed, cut out or
//! share a storage. Values beside them that are `None`, truth values, numbers or strings are skipped. Where
//! the dict has another dict under one of the [`WRAPPERS`], that is the state dict; what else is beside it,
//! such as the state of an optimizer, is not read, but a tensor there is an error. There, and only there, a few
//! names that Lightning's checkpoints hold beside their state dict may stand; nothing is imported for them, and no
//! call of one is made.
//!
//! Not read are whole pickled modules, sparse and quantised tensors, complex numbers, big-endian files,
//! compressed zip files and the formats before torch 1.6. Checksums are not verified, as torch does not
//! verify them either.

mod error;
mod pickle;
#[cfg(test)]
mod tests;
mod zip;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

pub use error::TorchError;
use pickle::Tensor;
use zip::Zip;

/// Names under which training scripts store the state dict.
pub const WRAPPERS: [&str; 2] = ["state_dict", "model"];
/// How many times as large as its part of the storage a tensor may be: a dimension of stride 0 repeats it.
/// Tensors of up to [`SMALL`] bytes may be any number of times as large.
pub const MAX_EXPANSION: usize = 64;
/// What [`MAX_EXPANSION`] does not apply to.
pub const SMALL: usize = 1 << 20;
/// Largest `data.pkl`.
const MAX_PICKLE: u64 = 64 << 20;
/// Longest name of a tensor.
const MAX_NAME: usize = 1024;

/// Number format of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float with 5 bits of exponent.
    F16,
    /// 16-bit float with 8 bits of exponent.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value of one byte.
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The format of torch's storage class of that name.
    fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }
}

/// One tensor of a checkpoint: where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Number format.
    pub dtype: Dtype,
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// Steps of each dimension within the storage, in elements.
    pub strides: Vec<usize>,
    /// Where the storage begins in the file; tensors that share a storage have the same.
    pub storage_file_offset: u64,
    /// Where the tensor begins in its storage, in elements.
    pub offset_elements: usize,
    /// Product of the shape.
    numel: usize,
    /// How many elements of the storage lie between the first and the last of the tensor, both included.
    window: usize,
}

/// An open checkpoint, whose tensors are read one at a time.
#[derive(Debug)]
pub struct TorchFile<R = File> {
    reader: R,
    entries: BTreeMap<String, Entry>,
}

impl TorchFile {
    /// Opens a checkpoint and finds its tensors; reads none of them.
    ///
    /// # Errors
    /// As [`TorchFile::new`].
    pub fn open(path: &Path) -> Result<Self, TorchError> {
        Self::new(File::open(path)?)
    }
}

impl<R: Read + Seek> TorchFile<R> {
    /// Finds the tensors of a checkpoint; reads none of them.
    ///
    /// # Errors
    /// [`TorchError`] for anything but a whole state dict as the module describes it.
    pub fn new(mut reader: R) -> Result<Self, TorchError> {
        let zip = Zip::read(&mut reader)?;
        let prefix = zip.prefix()?;
        let byteorder = zip.bytes(&mut reader, &format!("{prefix}byteorder"), 16)?;
        if byteorder.is_some_and(|order| order != b"little") {
            return Err(TorchError::zip("its entry byteorder is not little"));
        }
        let pickle = zip.bytes(&mut reader, &format!("{prefix}data.pkl"), MAX_PICKLE)?;
        let pickle = pickle.unwrap_or_default();
        let mut entries = BTreeMap::new();
        for (name, tensor) in pickle::state_dict(&pickle, &WRAPPERS)? {
            let storage = &tensor.storage;
            let span = zip.span(&mut reader, &format!("{prefix}data/{}", storage.key))?;
            let (offset, len) =
                span.ok_or_else(|| TorchError::key(name, "its storage is not in the file"))?;
            let entry = Entry::new(&tensor, offset, len).map_err(|reason| TorchError::key(name, reason))?;
            if name.len() > MAX_NAME || entries.insert(name.to_owned(), entry).is_some() {
                let reason = format!("expected once, in a key of at most {MAX_NAME} bytes");
                return Err(TorchError::key(name, reason));
            }
        }
        Ok(Self { reader, entries })
    }

    /// The names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What is known of a tensor.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The elements of a tensor, little-endian and in row-major order, whatever its strides.
    ///
    /// # Errors
    /// [`TorchError::Missing`] for an unknown name, [`TorchError::Io`] if the file cannot be read or was cut
    /// since it was opened.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>, TorchError> {
        let missing = || TorchError::Missing {
            name: name.to_owned(),
        };
        let entry = self.entries.get(name).ok_or_else(missing)?;
        if entry.numel == 0 {
            return Ok(vec![]);
        }
        let size = entry.dtype.size() as u64;
        let start = entry.storage_file_offset + entry.offset_elements as u64 * size;
        let window = zip::read_at(&mut self.reader, start, entry.window as u64 * size)?;
        match entry.is_contiguous() {
            true => Ok(window),
            false => Ok(entry.gather(&window)?),
        }
    }
}

impl Entry {
    /// Compares what the pickle says with the storage, `len` bytes at `storage_file_offset`.
    fn new(tensor: &Tensor<'_>, storage_file_offset: u64, len: u64) -> Result<Self, String> {
        let (shape, strides) = (tensor.shape.to_vec(), tensor.strides.to_vec());
        let dtype = tensor.storage.dtype;
        let held = len / dtype.size() as u64;
        let capacity = tensor.storage.numel;
        if capacity > held {
            return Err(format!(
                "a storage of {capacity} elements, but the file has {held} of them"
            ));
        }
        if shape.len() != strides.len() {
            return Err(format!(
                "shape {shape:?} with strides {strides:?}, expected as many of both"
            ));
        }
        let (numel, window) = match shape.contains(&0) {
            true => (Some(0), Some(0)),
            false => (
                shape
                    .iter()
                    .try_fold(1usize, |numel, dim| numel.checked_mul(*dim)),
                shape
                    .iter()
                    .zip(&strides)
                    .try_fold(1usize, |window, (dim, stride)| {
                        window.checked_add((dim - 1).checked_mul(*stride)?)
                    }),
            ),
        };
        // An empty view may begin anywhere: torch leaves it where it was cut.
        let fits = |window: &usize| {
            let end = tensor.offset.checked_add(*window);
            *window == 0 || end.is_some_and(|end| end as u64 <= capacity)
        };
        let (Some(numel), Some(window)) = (numel, window.filter(fits)) else {
            let view = format!(
                "shape {shape:?} with strides {strides:?} from element {} on",
                tensor.offset
            );
            return Err(format!("{view} reaches past its storage of {capacity} elements"));
        };
        let limit = window.saturating_mul(MAX_EXPANSION).max(SMALL / dtype.size());
        if numel > limit {
            return Err(format!(
                "{numel} elements made of {window}, expected at most {limit}"
            ));
        }
        Ok(Self {
            dtype,
            shape,
            strides,
            storage_file_offset,
            offset_elements: tensor.offset,
            numel,
            window,
        })
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.numel
    }

    /// Whether the elements lie in the file as [`TorchFile::read`] gives them.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.numel == 0 // Else the product of the dimensions, and of some of them, is no overflow.
            || self.shape.iter().zip(&self.strides).rev().all(|(dim, stride)| {
                let fits = *dim == 1 || *stride == expected;
                expected *= dim;
                fits
            })
    }

    /// Picks the elements out of the window, in row-major order.
    fn gather(&self, window: &[u8]) -> io::Result<Vec<u8>> {
        let size = self.dtype.size();
        // A dimension of length 1 may have any stride; the others' stay within the window.
        let dims = self.shape.iter().copied().zip(self.strides.iter().copied());
        let dims: Vec<_> = dims.filter(|(dim, _)| *dim != 1).collect();
        let mut index = vec![0; dims.len()];
        let mut at = 0;
        let mut bytes = vec![];
        bytes.try_reserve_exact(self.numel.saturating_mul(size))?;
        for _ in 0..self.numel {
            bytes.extend_from_slice(&window[at * size..(at + 1) * size]);
            for (index, (dim, stride)) in index.iter_mut().zip(&dims).rev() {
                *index += 1;
                at += stride;
                if *index < *dim {
                    break;
                }
                at -= stride * dim;
                *index = 0;
            }
        }
        Ok(bytes)
    }
}

//! The weight files of a directory as one set of named tensors, of which one at a time is read.
//!
//! Opening reads headers and pickles only and checks every number in them against the files, so that a checkpoint of any
//! size costs its index; a tensor costs its own bytes, twice while it is converted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::safetensors_bytes::tensor_data;
use super::safetensors_header::header;
use super::torch_bin::{self, TorchFile};
use crate::directory::{failed, read_json};
use crate::error::ModelError;

/// What weights are called where nobody says otherwise: transformers' names.
const TRANSFORMERS: (&str, &str) = ("model", "pytorch_model");

/// Behind the name of a set of weights: the first that is there counts.
const ENDINGS: [(&str, Kind); 6] = [
    (".safetensors.index.json", Kind::Index),
    (".safetensors", Kind::Single),
    (".bin.index.json", Kind::Index),
    (".bin", Kind::Single),
    // How diffusers and transformers call the shards of a variant.
    (".safetensors.index.fp16.json", Kind::Index),
    (".bin.index.fp16.json", Kind::Index),
];

#[derive(Clone, Copy)]
enum Kind {
    Single,
    Index,
}

/// `*.index.json`: which file holds which tensor. Its total size is not trusted and not read.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// What is known of a tensor before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Number format.
    pub dtype: Dtype,
    /// Length of each dimension, as the file has it.
    pub shape: Vec<usize>,
    file: usize,
    /// What the file calls it.
    name: String,
}

impl Stored {
    /// Number of elements; the files were checked to hold them.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&length| length as u64).product()
    }
}

/// The open weight files of a directory.
#[derive(Debug, Default)]
pub struct Shards {
    files: Vec<(PathBuf, ShardFile)>,
    indices: Vec<PathBuf>,
    tensors: BTreeMap<String, Stored>,
}

#[derive(Debug)]
enum ShardFile {
    Safetensors { file: File, data: u64, header: Metadata },
    Torch(TorchFile),
}

impl Shards {
    /// Opens `model.safetensors`, the shards of its index, or the same as PyTorch's `.bin`.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault: none of them is there, an index names a file
    /// that is missing or does not hold its tensor, or a file is not whole.
    pub fn open(dir: &Path) -> Result<Self, ModelError> {
        let mut shards = Self::default();
        shards.add(dir, "", |name| Some(name.to_owned()))?;
        Ok(shards)
    }

    /// Opens one file of any name.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] when it cannot be read or is not whole.
    pub fn open_file(path: &Path) -> Result<Self, ModelError> {
        let mut shards = Self::default();
        shards.add_file(path, &|name: &str| Some(name.to_owned()))?;
        Ok(shards)
    }

    /// Opens other weights too: those files of a directory whose names begin with `prefix`, the tensors in them under the
    /// names that `rename` gives; `None` leaves one out.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ModelError::Content`] for a name that there is already.
    pub fn add(
        &mut self,
        dir: &Path,
        prefix: &str,
        rename: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ModelError> {
        let (safetensors, bin) = TRANSFORMERS;
        self.add_set(
            dir,
            &[format!("{prefix}{safetensors}"), format!("{prefix}{bin}")],
            |name| dir.join(format!("{prefix}{name}")),
            rename,
        )
    }

    /// Opens the weights of this name: `NAME.safetensors`, `NAME.bin`, or the shards of an index, as diffusers names them.
    /// Where there is none, those of its 16-bit variant.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_named(dir: &Path, names: &[&str]) -> Result<Self, ModelError> {
        let mut shards = Self::default();
        let plain = names.iter().map(|&name| name.to_owned());
        let narrow = names.iter().map(|name| format!("{name}.fp16"));
        let names: Vec<String> = plain.chain(narrow).collect();
        shards.add_set(dir, &names, |name| dir.join(name), |name| Some(name.to_owned()))?;
        Ok(shards)
    }

    /// Opens those tensors of one file to which `rename` gives a name.
    ///
    /// # Errors
    /// As [`open_file`](Self::open_file), and [`ModelError::Content`] for two tensors that are given one name.
    pub fn open_part(path: &Path, rename: impl Fn(&str) -> Option<String>) -> Result<Self, ModelError> {
        let mut shards = Self::default();
        shards.add_file(path, &rename)?;
        Ok(shards)
    }

    /// Adds the first of these sets that is there. `place` is where a file that an index names lies.
    fn add_set(
        &mut self,
        dir: &Path,
        names: &[String],
        place: impl Fn(&str) -> PathBuf,
        rename: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ModelError> {
        std::fs::read_dir(dir).map_err(failed("read", dir))?;
        let of_name =
            |name: &String| ENDINGS.map(|(ending, kind)| (dir.join(format!("{name}{ending}")), kind));
        let set = names.iter().flat_map(of_name).find(|(path, _)| path.exists());
        // Where there is none, it is the usual one that cannot be read.
        let usual = || (dir.join(format!("{}.safetensors", names[0])), Kind::Single);
        let (path, kind) = set.unwrap_or_else(usual);
        match kind {
            Kind::Single => self.add_file(&path, &rename).map(drop),
            Kind::Index => {
                self.add_index(&path, place, &rename)?;
                self.indices.push(path);
                Ok(())
            }
        }
    }

    fn add_index(
        &mut self,
        path: &Path,
        place: impl Fn(&str) -> PathBuf,
        rename: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), ModelError> {
        let index: Index = read_json(path)?;
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            names.entry(file).or_default().push(tensor);
        }
        for (file, tensors) in names {
            // A name with a directory in it could point anywhere.
            if Path::new(file).file_name() != Some(file.as_ref()) {
                return Err(content(
                    path,
                    format!("weight_map names {file:?}, expected the name of a file beside it"),
                ));
            }
            let held = self.add_file(&place(file), rename)?;
            if let Some(lost) = tensors.iter().find(|name| !held.contains_key(**name)) {
                return Err(content(
                    path,
                    format!("{file} does not hold {lost}, as weight_map says"),
                ));
            }
        }
        Ok(())
    }

    /// Adds the tensors of a file; returns all that it holds.
    fn add_file(
        &mut self,
        path: &Path,
        rename: &impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, (Dtype, Vec<usize>)>, ModelError> {
        let pickles = ["bin", "ckpt", "pt", "pth"];
        let torch = path
            .extension()
            .is_some_and(|extension| pickles.iter().any(|pickle| extension == *pickle));
        let (file, held) = if torch {
            open_torch(path)
        } else {
            open_safetensors(path)
        }
        .map_err(|error| error.in_file(path))?;
        let index = self.files.len();
        self.files.push((path.to_owned(), file));
        for (name, (dtype, shape)) in &held {
            let Some(renamed) = rename(name) else { continue };
            let stored = Stored {
                dtype: *dtype,
                shape: shape.clone(),
                file: index,
                name: name.clone(),
            };
            if let Some(other) = self.tensors.insert(renamed, stored) {
                let other = self.files[other.file].0.display();
                return Err(content(
                    path,
                    format!("tensor {name} is in {other} too, expected it once"),
                ));
            }
        }
        Ok(held)
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.tensors
    }

    /// The files that say which of the others holds a tensor, where there are several.
    pub fn indices(&self) -> impl Iterator<Item = &Path> {
        self.indices.iter().map(PathBuf::as_path)
    }

    /// What speaks for all files in an error: the index, or the only file.
    pub(crate) fn place(&self) -> &Path {
        let file = self.files.first().map(|(path, _)| path);
        self.indices
            .first()
            .or(file)
            .map_or(Path::new(""), PathBuf::as_path)
    }

    /// The names of the tensors in each file.
    pub fn files(&self) -> Vec<Vec<String>> {
        let mut files = vec![vec![]; self.files.len()];
        for (name, stored) in &self.tensors {
            files[stored.file].push(name.clone());
        }
        files
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// The file of a tensor; the directory's first without one.
    pub(crate) fn path(&self, name: &str) -> &Path {
        let file = self.tensors.get(name).map_or(0, |stored| stored.file);
        self.files.get(file).map_or(Path::new(""), |(path, _)| path)
    }

    /// Reads one tensor, in its own number format and layout.
    ///
    /// # Errors
    /// [`ModelError::Content`] with file and tensor when there is none of that name, it cannot be read, or its format is not
    /// one that a network can take.
    pub fn read(&mut self, name: &str) -> Result<TensorData, ModelError> {
        let Some(stored) = self.tensors.get(name) else {
            return Err(content(self.path(name), format!("no tensor {name}")));
        };
        let (path, file) = &mut self.files[stored.file];
        let bytes = match file {
            ShardFile::Safetensors { file, data, header } => {
                let (start, end) = header.info(&stored.name).map_or((0, 0), |info| info.data_offsets);
                read_range(file, *data + start as u64, end - start).map_err(|error| error.to_string())
            }
            ShardFile::Torch(file) => file.read(&stored.name).map_err(|error| error.to_string()),
        };
        let bytes = bytes.map_err(|error| content(path, format!("tensor {name}: {error}")))?;
        tensor_data(name, stored.dtype, stored.shape.clone(), &bytes).map_err(|error| error.in_file(path))
    }
}

type Opened = (ShardFile, BTreeMap<String, (Dtype, Vec<usize>)>);

fn open_safetensors(path: &Path) -> Result<Opened, ModelError> {
    let cannot = failed("read", path);
    let mut file = File::open(path).map_err(&cannot)?;
    let length = file.metadata().map_err(&cannot)?.len();
    let (header, data) = header(length, |range| {
        let read = read_range(&mut file, range.start, (range.end - range.start) as usize);
        read.map(Cow::Owned).map_err(&cannot)
    })?;
    let held = header.tensors().into_iter();
    let held = held.map(|(name, info)| (name, (info.dtype, info.shape.clone())));
    let held = held.collect();
    Ok((ShardFile::Safetensors { file, data, header }, held))
}

fn open_torch(path: &Path) -> Result<Opened, ModelError> {
    let file = TorchFile::open(path).map_err(|error| content(path, error.to_string()))?;
    let mut held = BTreeMap::new();
    for name in file.names() {
        let Some(entry) = file.entry(name) else { continue };
        let dtype = match entry.dtype {
            torch_bin::Dtype::F64 => Dtype::F64,
            torch_bin::Dtype::F32 => Dtype::F32,
            torch_bin::Dtype::F16 => Dtype::F16,
            torch_bin::Dtype::BF16 => Dtype::BF16,
            torch_bin::Dtype::I64 => Dtype::I64,
            torch_bin::Dtype::I32 => Dtype::I32,
            torch_bin::Dtype::I16 => Dtype::I16,
            torch_bin::Dtype::I8 => Dtype::I8,
            torch_bin::Dtype::U8 => Dtype::U8,
            torch_bin::Dtype::Bool => Dtype::BOOL,
        };
        held.insert(name.to_owned(), (dtype, entry.shape.clone()));
    }
    Ok((ShardFile::Torch(file), held))
}

/// The bytes of a part of a file that is known to have them.
fn read_range(file: &mut File, start: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn content(path: &Path, reason: String) -> ModelError {
    ModelError::Content {
        path: path.to_owned(),
        reason,
    }
}

//! Files of a model directory: each is written beside its place and renamed into it, and the one that marks the directory
//! as complete is taken away first and written last, so that nothing half-written is ever read. Every error names its file.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ModelError;
use crate::weights::{NamedTensors, check_finite, from_safetensors, shape_as_in_file, swap_hf_layout};

/// Makes the directory and takes away the file that marks it as complete.
pub(crate) fn begin(dir: &Path, marker: &str) -> Result<(), ModelError> {
    let marker = dir.join(marker);
    fs::create_dir_all(dir).map_err(failed("make", dir))?;
    if marker.exists() {
        fs::remove_file(&marker).map_err(failed("remove", &marker))
    } else {
        Ok(())
    }
}

/// Writes a whole file or none.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let mut part = path.to_owned();
    part.add_extension("part");
    fs::write(&part, bytes).map_err(failed("write", path))?;
    fs::rename(&part, path).map_err(failed("write", path))
}

/// A whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(failed("read", path))
}

/// The digest of a file, read in parts.
pub(crate) fn file_digest(path: &Path) -> Result<blake3::Hash, ModelError> {
    let cannot = failed("read", path);
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(fs::File::open(path).map_err(&cannot)?)
        .map_err(&cannot)?;
    Ok(hasher.finalize())
}

/// A whole file as JSON of a known form.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let json = read(path)?;
    serde_json::from_slice(&json).map_err(|error| {
        let malformed = if error.is_data() { "" } else { "not valid JSON: " };
        ModelError::Content {
            path: path.to_owned(),
            reason: format!("{malformed}{error}"),
        }
    })
}

/// The bytes of a JSON file.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("plain structs have a JSON form")
}

/// Reads the finite weights of a safetensors file in Hugging Face's layout into a network, which `load` puts together.
pub(crate) fn read_weights<N>(
    path: &Path,
    load: impl FnOnce(NamedTensors) -> Result<N, ModelError>,
) -> Result<N, ModelError> {
    let network = || {
        let weights = swap_hf_layout(from_safetensors(&read(path)?)?)?;
        check_finite(&weights)?;
        load(weights).map_err(shape_as_in_file)
    };
    network().map_err(|error| error.in_file(path))
}

/// Turns an error of the system into one that names what was tried on which file.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::File {
        action,
        path: path.clone(),
        source,
    }
}

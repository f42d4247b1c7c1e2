//! Files of a model or adapter directory: each is written beside its place and renamed into it, and the one that marks the
//! directory as complete is taken away first and written last, so that nothing half-written is ever read.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ModelError;

/// Makes the directory and takes away the file that marks it as complete.
pub(crate) fn begin(dir: &Path, marker: &str) -> Result<(), ModelError> {
    let marker = dir.join(marker);
    fs::create_dir_all(dir).map_err(failed(dir))?;
    if marker.exists() {
        fs::remove_file(&marker).map_err(failed(&marker))
    } else {
        Ok(())
    }
}

/// Writes a whole file or none.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let mut part = path.to_owned();
    part.add_extension("part");
    fs::write(&part, bytes).map_err(failed(path))?;
    fs::rename(&part, path).map_err(failed(path))
}

/// A whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(failed(path))
}

/// A whole file as JSON of a known form.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    serde_json::from_slice(&read(path)?).map_err(|error| ModelError::Content {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// The bytes of a JSON file.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("plain structs have a JSON form")
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::File {
        path: path.clone(),
        source,
    }
}

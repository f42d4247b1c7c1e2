//! Tensors to the weight files of a directory, one file in memory at a time. Their names say how many there are, so they get
//! them at the end; until then no reader takes them for weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use serde_json::json;

use super::{METADATA, NamedTensors, check_finite, to_safetensors};
use crate::directory::{failed, to_json, write};
use crate::error::ModelError;

/// Bytes after which another shard is begun.
const SHARD: usize = 4 << 30;

/// Writes tensors to shards, and the index that says where each is.
pub(crate) struct ShardWriter<'a> {
    out: &'a Path,
    /// What the files are called, without what counts them.
    stem: &'a str,
    held: NamedTensors,
    size: usize,
    total: usize,
    /// The names in each shard.
    shards: Vec<Vec<String>>,
}

impl<'a> ShardWriter<'a> {
    /// Writes to a directory that exists.
    pub(crate) fn new(out: &'a Path) -> Self {
        Self::named(out, "model")
    }

    /// The same under another name.
    pub(crate) fn named(out: &'a Path, stem: &'a str) -> Self {
        Self {
            out,
            stem,
            held: NamedTensors::new(),
            size: 0,
            total: 0,
            shards: vec![],
        }
    }

    /// Adds a tensor in the files' layout.
    ///
    /// # Errors
    /// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
    pub(crate) fn add(&mut self, name: String, data: TensorData) -> Result<(), ModelError> {
        let bytes = data.as_bytes().len();
        if self.size > 0 && self.size + bytes > SHARD {
            self.flush()?;
        }
        self.size += bytes;
        self.total += bytes;
        self.held.insert(name, data);
        Ok(())
    }

    fn part(&self, number: usize) -> PathBuf {
        self.out
            .join(format!("{}-{:05}.safetensors", self.stem, number + 1))
    }

    /// Writes what was added since the last shard as one.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn flush(&mut self) -> Result<(), ModelError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let (tensors, part) = (std::mem::take(&mut self.held), self.part(self.shards.len()));
        check_finite(&tensors).map_err(|error| error.in_file(&part))?;
        write(&part, &to_safetensors(&tensors, METADATA)?)?;
        self.shards.push(tensors.into_keys().collect());
        self.size = 0;
        Ok(())
    }

    /// Gives the shards their names, which say how many there are, and writes the index where there are several.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn finish(mut self) -> Result<(), ModelError> {
        self.flush()?;
        let (count, stem) = (self.shards.len(), self.stem);
        let mut weight_map = BTreeMap::new();
        for (number, names) in self.shards.iter().enumerate() {
            let name = match count {
                1 => format!("{stem}.safetensors"),
                _ => format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1),
            };
            let part = self.part(number);
            fs::rename(&part, self.out.join(&name)).map_err(failed("rename", &part))?;
            weight_map.extend(names.iter().map(|tensor| (tensor, name.clone())));
        }
        if count > 1 {
            let index = json!({"metadata": {"total_size": self.total}, "weight_map": weight_map});
            write(
                &self.out.join(format!("{stem}.safetensors.index.json")),
                &to_json(&index),
            )?;
        }
        Ok(())
    }
}

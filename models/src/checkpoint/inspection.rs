//! What a directory holds, without reading its weights: layout, sizes, and what is missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::Serialize;

use super::described::{Directory, SENTENCEPIECE, TOKENIZER};
use super::layout::Layout;
use crate::directory::failed;
use crate::error::ModelError;
use crate::template::PromptTemplate;
use crate::weights::shards::Shards;

/// The answer of `adwright inspect`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// How the directory is laid out.
    pub layout: Layout,
    /// Numbers in its weights.
    pub parameters: u64,
    /// Of these, how many in each number format.
    pub dtypes: BTreeMap<String, u64>,
    /// Rows of the token table.
    pub vocab_size: usize,
    /// `json` or `sentencepiece`.
    pub tokenizer: &'static str,
    /// The prompt template that is used with it: `vicuna_v1`, or `own`, that of `adwright.json`.
    pub template: &'static str,
    /// Weights that its configuration needs and its files lack.
    pub missing: Vec<String>,
    /// Tensors of its files that its configuration has no place for.
    pub unused: Vec<String>,
    /// Tensors of another shape than its configuration says, with both shapes.
    pub misshaped: Vec<String>,
    /// BLAKE3 over the names and contents of its weight files, in the order of their names.
    pub digest: String,
}

/// Inspects a directory.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub fn inspect(dir: &Path) -> Result<Inspection, ModelError> {
    let mut foreign = Directory::open(dir)?;
    let comparison = foreign.compare();
    let mut dtypes = BTreeMap::new();
    for stored in foreign.shards().tensors().values() {
        *dtypes.entry(format!("{:?}", stored.dtype)).or_default() += stored.elements();
    }
    let json = dir.join(TOKENIZER).exists() || !dir.join(SENTENCEPIECE).exists();
    Ok(Inspection {
        layout: foreign.layout,
        parameters: dtypes.values().sum(),
        dtypes,
        vocab_size: foreign.config.text.vocab_size,
        tokenizer: if json { "json" } else { "sentencepiece" },
        template: match foreign.template == PromptTemplate::vicuna_v1() {
            true => "vicuna_v1",
            false => "own",
        },
        missing: comparison.missing,
        unused: comparison.unused,
        misshaped: comparison.misshaped,
        digest: format!("blake3:{}", digest(foreign.shards())?),
    })
}

/// BLAKE3 over the names and contents of a directory's weight files, in the order of their names.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub(super) fn digest(shards: &Shards) -> Result<blake3::Hash, ModelError> {
    let mut paths: Vec<_> = shards.paths().collect();
    paths.sort_unstable();
    let mut whole = blake3::Hasher::new();
    for path in paths {
        let file = File::open(path).map_err(failed("read", path))?;
        let mut one = blake3::Hasher::new();
        one.update_reader(file).map_err(failed("read", path))?;
        let name = path.file_name().unwrap_or_default();
        whole.update(name.as_encoded_bytes()).update(&[0]);
        whole.update(one.finalize().as_bytes());
    }
    Ok(whole.finalize())
}

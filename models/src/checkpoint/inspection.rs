//! What a directory holds, without reading its weights: layout, sizes, and what is missing.

mod adapter;
mod diffusion;
mod reward;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use super::described::{CONFIG, Directory, SENTENCEPIECE, TOKENIZER};
use super::layout::Layout;
use crate::ctr::RewardModel;
use crate::directory::file_digest;
use crate::error::ModelError;
use crate::peft::ADAPTER_CONFIG;
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
    /// Rows of the token table; an adapter and a ControlNet have none.
    pub vocab_size: Option<usize>,
    /// `json` or `sentencepiece`; an adapter and a ControlNet have none.
    pub tokenizer: Option<&'static str>,
    /// The prompt template that is used with it: `vicuna_v1`, or `own`, that of `adwright.json`; an adapter, a reward model that was
    /// trained here from nothing and what paints have none.
    pub template: Option<&'static str>,
    /// Weights that its configuration needs and its files lack.
    pub missing: Vec<String>,
    /// Tensors of its files that its configuration has no place for.
    pub unused: Vec<String>,
    /// Tensors of another shape than its configuration says, with both shapes.
    pub misshaped: Vec<String>,
    /// BLAKE3 over the names and contents of its weight files, in the order of their names.
    pub digest: String,
}

/// Inspects the directory of a policy, of a reward model, of an adapter, or of what paints, or a single file that paints.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub fn inspect(dir: &Path) -> Result<Inspection, ModelError> {
    if dir.is_file() {
        return diffusion::inspect(dir, diffusion::layout_of_file(dir)?);
    }
    if dir.join(ADAPTER_CONFIG).exists() && !dir.join(CONFIG).exists() {
        return adapter::inspect(dir);
    }
    if let Some(layout) = diffusion::layout(dir) {
        return diffusion::inspect(dir, layout);
    }
    if RewardModel::is_described_in(dir) {
        return reward::inspect(dir);
    }
    let mut foreign = Directory::open(dir)?;
    let comparison = foreign.compare();
    let dtypes = dtypes(foreign.shards());
    let json = dir.join(TOKENIZER).exists() || !dir.join(SENTENCEPIECE).exists();
    Ok(Inspection {
        layout: foreign.layout,
        parameters: dtypes.values().sum(),
        dtypes,
        vocab_size: Some(foreign.config.text.vocab_size),
        tokenizer: Some(if json { "json" } else { "sentencepiece" }),
        template: Some(match foreign.template == PromptTemplate::vicuna_v1() {
            true => "vicuna_v1",
            false => "own",
        }),
        missing: comparison.missing,
        unused: comparison.unused,
        misshaped: comparison.misshaped,
        digest: format!("blake3:{}", digest(foreign.shards())?),
    })
}

/// How many numbers there are in each format.
fn dtypes(shards: &Shards) -> BTreeMap<String, u64> {
    let mut dtypes = BTreeMap::new();
    for stored in shards.tensors().values() {
        *dtypes.entry(format!("{:?}", stored.dtype)).or_default() += stored.elements();
    }
    dtypes
}

/// BLAKE3 over the names and contents of a directory's weight files, in the order of their names.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub(super) fn digest(shards: &Shards) -> Result<blake3::Hash, ModelError> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
    digest_of(shards.paths().collect(), name)
}

/// The same of any files, under the names that are given.
fn digest_of(mut paths: Vec<&Path>, name: impl Fn(&Path) -> OsString) -> Result<blake3::Hash, ModelError> {
    paths.sort_unstable();
    let mut whole = blake3::Hasher::new();
    for path in paths {
        whole.update(name(path).as_encoded_bytes()).update(&[0]);
        whole.update(file_digest(path)?.as_bytes());
    }
    Ok(whole.finalize())
}

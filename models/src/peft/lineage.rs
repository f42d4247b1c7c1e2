//! What an adapter of ours says of the base that it was trained on: `lineage.json`, which the learner writes beside it.
//!
//! Adapters of others have none; of them the shapes alone tell whether they fit.

use std::path::Path;

use serde::Deserialize;

use crate::checkpoint::{WeightFile, weight_files};
use crate::directory::{file_digest, read_json};
use crate::error::ModelError;

/// The file.
const LINEAGE: &str = "lineage.json";

/// Of its content, what is asked here.
#[derive(Deserialize)]
struct Lineage {
    base: Vec<BaseFile>,
}

/// A file of the base, its digest as `blake3:<64 hex digits>`.
#[derive(Deserialize)]
struct BaseFile {
    name: String,
    digest: String,
}

/// Refuses the adapter in `adapter` for the policy in `base` when it says that it was trained on other weights.
///
/// # Errors
/// [`ModelError::Content`] naming the file, both digests and what to do, [`ModelError::File`] when one cannot be read.
pub(super) fn check(adapter: &Path, base: &Path) -> Result<(), ModelError> {
    let path = adapter.join(LINEAGE);
    if !path.exists() {
        return Ok(());
    }
    let lineage: Lineage = read_json(&path)?;
    for WeightFile { name, path: weights } in weight_files(base)? {
        let trained_on = lineage.base.iter().find(|file| file.name == name);
        let told = trained_on.map_or("not among its files", |file| file.digest.as_str());
        let found = format!("blake3:{}", file_digest(&weights)?.to_hex());
        if told != found {
            let reason = format!(
                "the adapter was trained on another base than {}: {name} was {told}, here it is {found}; name that base, or \
                 remove this file to use the adapter with another one of its shapes",
                base.display()
            );
            return Err(ModelError::Content { path, reason });
        }
    }
    Ok(())
}

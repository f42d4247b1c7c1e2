//! An adapter in PEFT's layout: whether its factors come in pairs and have the rank that its configuration says. Whether it
//! fits a base is seen when it is attached to one.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Inspection, digest, dtypes};
use crate::checkpoint::layout::Layout;
use crate::error::ModelError;
use crate::peft::{ADAPTER_WEIGHTS, read_config};
use crate::weights::shards::Shards;

/// The factors of a branch, `B · A`, and the dimension of each that is its rank; A is `[rank, in]`, B is `[out, rank]`.
const FACTORS: [(&str, usize); 2] = [(".lora_A.weight", 0), (".lora_B.weight", 1)];

/// Inspects an adapter's directory.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub(super) fn inspect(dir: &Path) -> Result<Inspection, ModelError> {
    let shards = Shards::open_file(&dir.join(ADAPTER_WEIGHTS))?;
    let tensors = shards.tensors();
    let rank = read_config(dir, tensors.keys().map(String::as_str))?.rank;
    let branch = |name: &str| {
        FACTORS
            .iter()
            .find_map(|(ending, _)| Some(name.strip_suffix(ending)?.to_owned()))
    };
    let branches: BTreeSet<String> = tensors.keys().filter_map(|name| branch(name)).collect();
    let (mut missing, mut misshaped) = (vec![], vec![]);
    for (branch, (ending, dimension)) in branches
        .iter()
        .flat_map(|branch| FACTORS.map(|factor| (branch, factor)))
    {
        let name = format!("{branch}{ending}");
        match tensors.get(&name) {
            None => missing.push(name),
            Some(factor) if factor.shape.len() != 2 || factor.shape[dimension] != rank => {
                misshaped.push(format!("{name}: shape {:?}, expected rank {rank}", factor.shape));
            }
            Some(_) => {}
        }
    }
    let dtypes = dtypes(&shards);
    Ok(Inspection {
        layout: Layout::Peft,
        parameters: dtypes.values().sum(),
        dtypes,
        vocab_size: None,
        tokenizer: None,
        template: None,
        missing,
        unused: tensors
            .keys()
            .filter(|name| branch(name).is_none())
            .cloned()
            .collect(),
        misshaped,
        digest: format!("blake3:{}", digest(&shards)?),
    })
}

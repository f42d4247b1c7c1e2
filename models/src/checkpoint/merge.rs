//! An adapter folded into its base: `W + scale · B A` for every adapted weight, in the layout, names and number formats that
//! the base has. Everything that is no weight is copied as it is.
//!
//! One tensor is in memory at a time and one file of the result, so a shard bounds what is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::layout::Naming;
use crate::directory::{begin, failed};
use crate::error::ModelError;
use crate::peft::{Adapter, copied};
use crate::weights::shard_writer::ShardWriter;
use crate::weights::shards::Shards;
use burn::tensor::{DType, Tensor, TensorData};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Writes the base in the directory `model` with `adapter` folded in to `out`, which must not be `model`.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault, [`ModelError::Adapter`] for an adapter of another
/// base.
pub fn merge(model: &Path, adapter: Adapter, out: &Path) -> Result<(), ModelError> {
    let mut shards = Shards::open(model)?;
    let branches = Branches::new(adapter, model, &shards)?;
    // Before anything is written.
    for (name, branch) in &branches.places {
        if let Some(copy) = copied::of_branch(&branches.adapter.copies, branch) {
            copied::check(copy, &shards.read(name)?, branch)?;
        }
    }
    begin(out, INDEX)?;
    begin(out, SINGLE)?;
    copy_others(model, out)?;
    let mut written = ShardWriter::new(out);
    for names in shards.files() {
        for name in names {
            let data = branches.fold(&name, shards.read(&name)?)?;
            written.add(name, data)?;
        }
        // As many files as the base has, with the same tensors in each.
        written.flush()?;
    }
    written.finish()
}

/// Refuses an adapter of another base; no weight is read.
///
/// # Errors
/// [`ModelError::Adapter`] with what does not fit, or those of opening `model`.
pub fn check_adapter(model: &Path, adapter: &Adapter) -> Result<(), ModelError> {
    Branches::new(adapter.clone(), model, &Shards::open(model)?).map(drop)
}

/// The adapter's factors by the weight that each pair changes.
struct Branches {
    adapter: Adapter,
    /// What the files call an adapted weight, and the beginning of its factors' names.
    places: BTreeMap<String, String>,
}

impl Branches {
    fn new(adapter: Adapter, model: &Path, shards: &Shards) -> Result<Self, ModelError> {
        let naming = Naming::detect(shards.tensors().keys().map(String::as_str))
            .map_err(|error| error.in_file(model))?;
        let fault = |reason: String| ModelError::Adapter {
            reason: format!("it belongs to another base: {reason}"),
        };
        let mut places = BTreeMap::new();
        for name in adapter.weights.keys() {
            let Some(branch) = name.strip_suffix(".lora_A.weight") else {
                continue;
            };
            let module = crate::llava::adapted_module(branch);
            let theirs = naming.theirs(&format!("{module}.weight"));
            let (a, b) = (
                &adapter.weights[name],
                adapter.weights.get(&format!("{branch}.lora_B.weight")),
            );
            let Some(weight) = shards.tensors().get(&theirs) else {
                return Err(fault(format!("it has no weight {theirs}")));
            };
            let fits = b.is_some_and(|b| {
                let rank = adapter.config.rank;
                weight.shape == [b.shape()[0], a.shape()[1]] && a.shape()[0] == rank && b.shape()[1] == rank
            });
            if !(a.rank() == 2 && b.is_some_and(|b| b.rank() == 2) && fits) {
                return Err(fault(format!(
                    "its factors of {theirs} do not fit the shape {:?}",
                    weight.shape
                )));
            }
            places.insert(theirs, branch.to_owned());
        }
        if 2 * places.len() != adapter.weights.len() {
            return Err(fault("some of its tensors are no pair of factors".into()));
        }
        Ok(Self { adapter, places })
    }

    /// The weight as the files have it, `[out, in]`, with its branch.
    fn fold(&self, name: &str, weight: TensorData) -> Result<TensorData, ModelError> {
        let Some(branch) = self.places.get(name) else {
            return Ok(weight);
        };
        let device = burn::tensor::Device::flex();
        let f32s = |data: TensorData| -> Tensor<2> {
            Tensor::from_data(data.convert_dtype(DType::F32), (&device, DType::F32))
        };
        let factor = |end: &str| f32s(self.adapter.weights[&format!("{branch}.{end}.weight")].clone());
        let dtype = weight.dtype();
        let change = factor("lora_B").matmul(factor("lora_A")) * self.adapter.config.scale();
        Ok((f32s(weight) + change).into_data().convert_dtype(dtype))
    }
}

/// Everything but weights, which are written anew; directories (the tower of the LLaVA repository) with their files.
fn copy_others(from: &Path, to: &Path) -> Result<(), ModelError> {
    for entry in fs::read_dir(from).map_err(failed("read", from))? {
        let path = entry.map_err(failed("read", from))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        let text = name.to_string_lossy();
        let weights =
            text.ends_with(".safetensors") || text.ends_with(".bin") || text.ends_with(".index.json");
        if path.is_dir() {
            fs::create_dir_all(&target).map_err(failed("make", &target))?;
            for file in fs::read_dir(&path).map_err(failed("read", &path))? {
                let file = file.map_err(failed("read", &path))?.path();
                if let (true, Some(name)) = (file.is_file(), file.file_name()) {
                    fs::copy(&file, target.join(name)).map_err(failed("copy", &file))?;
                }
            }
        } else if !weights {
            fs::copy(&path, &target).map_err(failed("copy", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::read_json;

    #[test]
    fn an_adapter_of_another_base_is_refused_and_nothing_is_written() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures");
        let out = tempfile::tempdir().unwrap();
        let target = out.path().join("merged");
        let error = merge(
            &fixtures.join("llava-hf-1.5/1"),
            Adapter::load(&fixtures.join("peft/2")).unwrap(),
            &target,
        )
        .unwrap_err();
        assert!(error.to_string().contains("another base"), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn a_merged_directory_holds_the_other_files_of_its_base() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures");
        let out = tempfile::tempdir().unwrap();
        merge(
            &fixtures.join("llava-hf-1.5/2"),
            Adapter::load(&fixtures.join("peft/2")).unwrap(),
            out.path(),
        )
        .unwrap();
        let index: serde_json::Value = read_json(&out.path().join(INDEX)).unwrap();
        let theirs: serde_json::Value = read_json(&fixtures.join("llava-hf-1.5/2").join(INDEX)).unwrap();
        assert_eq!(index["weight_map"], theirs["weight_map"]);
        for name in ["config.json", "tokenizer.json", "processor_config.json"] {
            let read = |dir: &Path| fs::read(dir.join(name)).unwrap();
            assert_eq!(read(out.path()), read(&fixtures.join("llava-hf-1.5/2")), "{name}");
        }
    }
}

//! What paints: a directory as diffusers lays it out, a ControlNet's, or either in a single file. Its networks
//! are told as one, each weight with its network's directory before its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::{Inspection, digest_of, dtypes};
use crate::checkpoint::described::CONFIG;
use crate::checkpoint::layout::Layout;
use crate::diffusion::checkpoint::{Compared, Held};
use crate::diffusion::config::UnetConfig;
use crate::diffusion::presets::MODEL_INDEX;
use crate::directory::read_json;
use crate::error::ModelError;

/// The layout of a directory of diffusers; none of any other, and none where nothing can be read.
pub(super) fn layout(dir: &Path) -> Option<Layout> {
    if dir.join(MODEL_INDEX).is_file() {
        return Some(Layout::StableDiffusion);
    }
    let config: Map<String, Value> = read_json(&dir.join(CONFIG)).ok()?;
    let class = config.get("_class_name")?.as_str()?;
    (class == UnetConfig::CONTROLNET).then_some(Layout::ControlNet)
}

/// The layout of a single file.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] when it cannot be read or does not paint.
pub(super) fn layout_of_file(file: &Path) -> Result<Layout, ModelError> {
    Ok(match Held::of(file)? {
        Held::StableDiffusion => Layout::StableDiffusion,
        Held::ControlNet => Layout::ControlNet,
    })
}

/// Inspects such a directory or file.
///
/// # Errors
/// [`ModelError::File`] or [`ModelError::Content`] with the file at fault.
pub(super) fn inspect(place: &Path, layout: Layout) -> Result<Inspection, ModelError> {
    let compared = match layout {
        Layout::ControlNet => Compared::controlnet(place)?,
        _ => Compared::stable_diffusion(place)?,
    };
    let (mut missing, mut unused, mut misshaped) = (vec![], vec![], vec![]);
    let mut formats = BTreeMap::new();
    for (part, shards, comparison) in &compared.parts {
        let named = |name: &String| match part.is_empty() {
            true => name.clone(),
            false => format!("{part}/{name}"),
        };
        missing.extend(comparison.missing.iter().map(named));
        unused.extend(comparison.unused.iter().map(named));
        misshaped.extend(comparison.misshaped.iter().map(named));
        for (dtype, count) in dtypes(shards) {
            *formats.entry(dtype).or_default() += count;
        }
    }
    // A single file is there once for each of its networks.
    let paths: BTreeSet<&Path> = compared
        .parts
        .iter()
        .flat_map(|(_, shards, _)| shards.paths())
        .collect();
    let top = match place.is_file() {
        true => place.parent().unwrap_or(place),
        false => place,
    };
    let below = |path: &Path| path.strip_prefix(top).unwrap_or(path).as_os_str().to_owned();
    let digest = digest_of(paths.into_iter().collect(), below)?;
    Ok(Inspection {
        layout,
        parameters: formats.values().sum(),
        dtypes: formats,
        vocab_size: compared.vocab_size,
        tokenizer: compared.vocab_size.map(|_| "json"),
        template: None,
        missing,
        unused,
        misshaped,
        digest: format!("blake3:{digest}"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::inspect;
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("parity/fixtures/diffusion")
            .join(name)
    }

    #[test]
    fn a_whole_model_and_its_controlnet_are_told_and_nothing_is_missing() {
        let model = inspect(&fixture("tiny")).unwrap();
        assert_eq!(model.layout, Layout::StableDiffusion);
        // As its files' headers add up: U-net, autoencoder, text encoder.
        assert_eq!(model.parameters, 89_552 + 29_187 + 15_312);
        assert_eq!(model.dtypes, [("F32".to_owned(), model.parameters)].into());
        let vocabulary = fixture("tiny").join("text_encoder/config.json");
        let vocabulary: Map<String, Value> = read_json(&vocabulary).unwrap();
        assert_eq!(
            model.vocab_size.map(|size| size as u64),
            vocabulary["vocab_size"].as_u64()
        );
        assert_eq!((model.tokenizer, model.template), (Some("json"), None));
        let control = inspect(&fixture("controlnet")).unwrap();
        assert_eq!((control.layout, control.parameters), (Layout::ControlNet, 41_616));
        assert_eq!((control.vocab_size, control.tokenizer), (None, None));
        for found in [&model, &control] {
            let lists = [&found.missing, &found.unused, &found.misshaped];
            assert!(lists.iter().all(|list| list.is_empty()), "{found:?}");
        }
        assert_ne!(model.digest, control.digest);
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => copy(&entry.path(), &target),
                false => drop(fs::copy(entry.path(), target).unwrap()),
            }
        }
    }

    #[test]
    fn every_weight_that_is_missing_or_has_no_place_is_told_with_its_network() {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture("tiny"), dir.path());
        let config = dir.path().join("unet/config.json");
        let mut changed: Map<String, Value> = read_json(&config).unwrap();
        let layers = changed["layers_per_block"].as_u64().unwrap();
        let mut found_with = |layers: u64| {
            changed.insert("layers_per_block".into(), layers.into());
            fs::write(&config, serde_json::to_vec(&changed).unwrap()).unwrap();
            inspect(dir.path()).unwrap()
        };
        let more = found_with(layers + 1);
        let of_unet =
            |names: &[String]| !names.is_empty() && names.iter().all(|name| name.starts_with("unet/"));
        assert!(of_unet(&more.missing), "{more:?}");
        let fewer = found_with(layers - 1);
        assert!(of_unet(&fewer.unused), "{fewer:?}");
        let whole = found_with(layers);
        assert_eq!((whole.missing.len(), whole.unused.len()), (0, 0));
        assert_eq!([&more.digest, &fewer.digest], [&whole.digest; 2]);
        assert_eq!(whole.digest, inspect(&fixture("tiny")).unwrap().digest);
    }

    #[test]
    fn a_single_file_is_told_as_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture("tiny"), dir.path());
        copy(&fixture("controlnet"), &dir.path().join("controlnet"));
        let of = |name: &str| {
            let file = dir.path().join(Path::new(name).file_name().unwrap());
            fs::copy(fixture(name), &file).unwrap();
            inspect(&file)
        };
        let digests = [
            ("single_file.safetensors", Layout::StableDiffusion),
            ("single_file.ckpt", Layout::StableDiffusion),
            ("controlnet_file.safetensors", Layout::ControlNet),
            ("controlnet_file.pth", Layout::ControlNet),
        ]
        .map(|(name, layout)| {
            let found = of(name).unwrap();
            assert_eq!(found.layout, layout, "{name}");
            let lists = [&found.missing, &found.unused, &found.misshaped];
            assert!(lists.iter().all(|list| list.is_empty()), "{found:?}");
            let expected = match layout {
                // The positions are no weights, but lie among them.
                Layout::StableDiffusion => vec![("F16".to_owned(), 134_051), ("I64".to_owned(), 77)],
                _ => vec![("F16".to_owned(), 41_616)],
            };
            assert_eq!(found.dtypes, expected.into_iter().collect(), "{name}");
            found.digest
        });
        assert_eq!(BTreeSet::from(digests).len(), 4);
        let refused = of("lora/kohya.safetensors").unwrap_err().to_string();
        for word in ["kohya.safetensors", "control_model.", "model.diffusion_model."] {
            assert!(refused.contains(word), "{refused}");
        }
    }

    #[test]
    fn a_network_without_its_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture("tiny"), dir.path());
        fs::remove_file(dir.path().join("vae/diffusion_pytorch_model.safetensors")).unwrap();
        let refused = inspect(dir.path()).unwrap_err().to_string();
        assert!(
            refused.contains("vae/diffusion_pytorch_model.safetensors"),
            "{refused}"
        );
    }
}

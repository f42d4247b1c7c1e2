//! Which files of a published repository a model is read from.

use std::path::Path;

use crate::diffusion::presets::MODEL_INDEX;

/// The folders of a diffusion model that are read; a safety checker is none of them.
const PARTS: [&str; 5] = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"];

/// Of the names of a repository's files, those that a model or an adapter in it is read from: what describes it (`.json`, tokenizers,
/// templates), and its weights as safetensors, or as `.bin` where there are no safetensors, in 16 bits only where there is nothing
/// else. Weights for other programs stay out, and so does what else lies there. Of a diffusion model, the folders that are read;
/// of any other, the top.
pub fn published(names: &[&str]) -> Vec<bool> {
    let parts: &[&str] = match names.contains(&MODEL_INDEX) {
        true => &PARTS,
        false => &[""],
    };
    let within = |part: &str| -> Vec<&str> {
        let of_part = |name: &&str| folder(name) == part;
        names.iter().copied().filter(of_part).map(file).collect()
    };
    let sets: Vec<(&str, Vec<&str>)> = parts.iter().map(|part| (*part, within(part))).collect();
    let is_read = |name: &&str| {
        *name == MODEL_INDEX
            || sets
                .iter()
                .any(|(part, beside)| folder(name) == *part && is_of_set(file(name), beside))
    };
    names.iter().map(is_read).collect()
}

fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn file(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, file)| file)
}

/// Whether a file of a folder is read, all of whose files are `beside`.
fn is_of_set(name: &str, beside: &[&str]) -> bool {
    let has = |of: fn(&str) -> bool| beside.iter().any(|name| of(name) && !is_variant(name));
    let is_complete = has(is_safetensors) || has(is_pytorch);
    let is_narrow = |name: &str| is_complete && is_variant(name);
    // Safetensors that are left out for a whole `.bin` do not keep that one out.
    let has_safetensors = beside.iter().any(|name| is_safetensors(name) && !is_narrow(name));
    let is_bin = is_pytorch(name);
    !name.starts_with('.')
        && !is_narrow(name)
        && match end(name) {
            Some("safetensors") => is_safetensors(name),
            Some("bin") => is_bin && !has_safetensors,
            Some("json") => !is_bin || !has_safetensors,
            Some("model" | "jinja" | "txt") => true,
            _ => false,
        }
}

/// Mistral's repositories hold the weights a second time under its own names, `consolidated`.
fn is_safetensors(name: &str) -> bool {
    end(name) == Some("safetensors") && !name.starts_with("consolidated")
}

/// The weights or their index.
fn is_pytorch(name: &str) -> bool {
    let is_index = name.contains(".bin.index");
    let is_weights = end(name) == Some("bin") || is_index;
    is_weights && (name.starts_with("pytorch_model") || name.starts_with("diffusion_pytorch_model"))
}

/// The same weights in 16 bits, or those of the training's average.
fn is_variant(name: &str) -> bool {
    name.contains(".fp16") || name.contains(".non_ema")
}

fn end(name: &str) -> Option<&str> {
    Path::new(name).extension()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept<'a>(names: &[&'a str]) -> Vec<&'a str> {
        let kept = names.iter().zip(published(names));
        kept.filter_map(|(name, kept)| kept.then_some(*name)).collect()
    }

    #[test]
    fn weights_come_once_and_only_as_they_are_read() {
        let both = [
            ".gitattributes",
            "README.md",
            "chat_template.jinja",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/config.json",
            "onnx/model.onnx",
            "onnx/model.safetensors",
            "pytorch_model-00001-of-00001.bin",
            "pytorch_model.bin.index.json",
            "rust_model.ot",
            "tf_model.h5",
            "tokenizer.model",
            "training_args.bin",
        ];
        assert_eq!(
            kept(&both),
            [
                "chat_template.jinja",
                "config.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "tokenizer.model",
            ]
        );
        let old = [
            "config.json",
            "pytorch_model.bin",
            "training_args.bin",
            "x/model.safetensors",
        ];
        assert_eq!(kept(&old), ["config.json", "pytorch_model.bin"]);
        let adapter = ["adapter_config.json", "adapter_model.safetensors", "README.md"];
        assert_eq!(kept(&adapter), &adapter[..2]);
    }

    /// The folders of Stable Diffusion 1.5's repository and of a ControlNet for it.
    #[test]
    fn of_a_diffusion_model_each_part_comes_once() {
        let model = [
            "README.md",
            "feature_extractor/preprocessor_config.json",
            "model_index.json",
            "safety_checker/model.safetensors",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/model.safetensors",
            "text_encoder/pytorch_model.bin",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "v1-5-pruned.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.bin",
            "vae/diffusion_pytorch_model.fp16.bin",
        ];
        assert_eq!(
            kept(&model),
            [
                "model_index.json",
                "scheduler/scheduler_config.json",
                "text_encoder/config.json",
                "text_encoder/model.safetensors",
                "tokenizer/merges.txt",
                "tokenizer/vocab.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
                "vae/config.json",
                "vae/diffusion_pytorch_model.bin",
            ]
        );
        let control = [
            "config.json",
            "diffusion_pytorch_model.bin",
            "diffusion_pytorch_model.fp16.bin",
            "images/bird.png",
        ];
        assert_eq!(kept(&control), &control[..2]);
        let narrow = ["config.json", "diffusion_pytorch_model.fp16.safetensors"];
        assert_eq!(kept(&narrow), narrow);
        let mixed = ["config.json", "model.fp16.safetensors", "pytorch_model.bin"];
        assert_eq!(kept(&mixed), ["config.json", "pytorch_model.bin"]);
    }
}

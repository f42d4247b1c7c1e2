//! Which files of a published repository a model is read from.

use std::path::Path;

/// Of the names of a repository's files, those that a model or an adapter in it is read from: in its top directory, what
/// describes it (`.json`, tokenizers, templates), and its weights as safetensors, or as `pytorch_model*.bin` where there are no
/// safetensors. Weights for other programs stay out, and so does what else lies there.
pub fn published(names: &[&str]) -> Vec<bool> {
    let has_safetensors = names.iter().any(|name| is_safetensors(name));
    let is_read = |name: &&str| {
        let is_bin = is_pytorch(name);
        !name.contains('/')
            && !name.starts_with('.')
            && match end(name) {
                Some("safetensors") => is_safetensors(name),
                Some("bin") => is_bin && !has_safetensors,
                Some("json") => !is_bin || !has_safetensors,
                Some("model" | "jinja" | "txt") => true,
                _ => false,
            }
    };
    names.iter().map(is_read).collect()
}

/// Mistral's repositories hold the weights a second time under its own names, `consolidated`.
fn is_safetensors(name: &str) -> bool {
    end(name) == Some("safetensors") && !name.contains('/') && !name.starts_with("consolidated")
}

/// The weights or their index.
fn is_pytorch(name: &str) -> bool {
    name.starts_with("pytorch_model")
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
}

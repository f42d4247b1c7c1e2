//! Adapters in both spellings, and a whole model and a ControlNet in one file.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor};

use super::{Expected, controlnet, fixtures, tiny};
use crate::diffusion::attention::SliceBytes;
use crate::diffusion::checkpoint::{ControlNetFiles, StableDiffusion};
use crate::diffusion::lora::DiffusionLora;
use crate::diffusion::pipeline::{Inpainting, PipelineConfig};
use crate::diffusion::unet::Unet;
use crate::weights::collect;

const TIMESTEPS: [f64; 2] = [981.0, 21.0];

fn plain(unet: &Unet) -> Tensor<4> {
    let inputs = Expected::of("unet");
    let (latents, context): (Tensor<4>, Tensor<3>) =
        (inputs.tensor("square.latents"), inputs.tensor("square.context"));
    let row = |at: usize| {
        let (latents, context) = (latents.clone().narrow(0, at, 1), context.clone().narrow(0, at, 1));
        unet.forward(latents, TIMESTEPS[at], context, None, SliceBytes(1 << 20))
    };
    Tensor::cat(vec![row(0), row(1)], 0)
}

#[test]
fn an_adapter_of_the_unet_in_both_spellings() {
    let expected = Expected::of("lora");
    for file in ["pytorch_lora_weights", "kohya"] {
        for (scale, name) in [(1.0, "square.scale.1.0"), (0.5, "square.scale.0.5")] {
            let path = fixtures().join(format!("lora/{file}.safetensors"));
            let lora = DiffusionLora::read(&path, scale).unwrap();
            tiny().check_lora(&lora).unwrap();
            let unet = tiny()
                .read_unet(&Device::flex(), DType::F32, Some(&lora))
                .unwrap();
            expected.compare(name, plain(&unet).into_data());
        }
    }
    expected.report("LoRA of the U-net, both spellings");
}

#[test]
fn an_adapter_of_another_unet_is_refused_with_its_layers_before_anything_is_read() {
    for file in ["pytorch_lora_weights", "kohya"] {
        let path = fixtures().join(format!("lora/{file}.safetensors"));
        let refused = |change: &dyn Fn(&mut StableDiffusion)| {
            let (lora, mut model) = (DiffusionLora::read(&path, 1.0).unwrap(), tiny());
            change(&mut model);
            let config = PipelineConfig::default();
            let opened = Inpainting::new(
                &model,
                &controlnet(),
                Some(lora),
                config,
                &Device::flex(),
                DType::F32,
            );
            opened
                .err()
                .map(|error| error.to_string())
                .expect("it is refused")
        };
        let shallow = refused(&|model| model.unet.layers_per_block = 1);
        let wide = refused(&|model| model.unet.cross_attention_dim = 24);
        for (said, words) in [
            (shallow, ["attentions", "an adapter of another model"]),
            (wide, ["attn2", "from 24 to 8"]),
        ] {
            assert!(said.contains(path.to_str().unwrap()), "{said}");
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }
}

/// A directory with the tiny model's descriptions and nothing else.
fn descriptions_only(dir: &Path) {
    for part in ["unet", "vae", "text_encoder", "scheduler", "tokenizer"] {
        fs::create_dir(dir.join(part)).unwrap();
        for file in fs::read_dir(fixtures().join("tiny").join(part)).unwrap() {
            let file = file.unwrap();
            let name = file.file_name();
            if !name.to_string_lossy().ends_with(".safetensors") {
                fs::copy(file.path(), dir.join(part).join(name)).unwrap();
            }
        }
    }
}

#[test]
fn a_single_file_is_the_same_model() {
    for ending in ["safetensors", "ckpt"] {
        let dir = tempfile::tempdir().unwrap();
        descriptions_only(dir.path());
        let file = dir.path().join(format!("model.{ending}"));
        fs::copy(fixtures().join(format!("single_file.{ending}")), &file).unwrap();
        is_the_tiny_model(&StableDiffusion::open(&file).unwrap());
    }
}

fn is_the_tiny_model(single: &StableDiffusion) {
    let (model, device) = (&tiny(), Device::flex());
    let unet =
        |model: &StableDiffusion| collect(&model.read_unet(&device, DType::F32, None).unwrap(), |_| true);
    assert_eq!(unet(single), unet(model));
    let vae =
        |model: &StableDiffusion| collect(&model.read_autoencoder(&device, DType::F32).unwrap(), |_| true);
    assert_eq!(vae(single), vae(model));
    let text = |model: &StableDiffusion| {
        let encoder = model.read_text_encoder(&device, DType::F32, None);
        collect(&encoder.unwrap(), |_| true)
    };
    assert_eq!(text(single), text(model));
}

/// A place with the ControlNet's description beside a file of this name, which is a copy of a fixture's.
fn controlnet_file(fixture: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let beside = dir.path().join("controlnet");
    fs::create_dir(&beside).unwrap();
    fs::copy(
        fixtures().join("controlnet/config.json"),
        beside.join("config.json"),
    )
    .unwrap();
    let file = dir.path().join(name);
    fs::copy(fixtures().join(fixture), &file).unwrap();
    (dir, file)
}

#[test]
fn a_controlnet_in_one_file_is_the_same_network() {
    let weights = |files: &ControlNetFiles| {
        let read = files.read(&Device::flex(), DType::F32);
        collect(&read.unwrap(), |_| true)
    };
    let expected = weights(&controlnet());
    for (fixture, name) in [
        ("controlnet_file.pth", "published.pth"),
        ("controlnet_file.safetensors", "extracted.safetensors"),
        (
            "controlnet/diffusion_pytorch_model.safetensors",
            "of_diffusers.safetensors",
        ),
    ] {
        let (_dir, file) = controlnet_file(fixture, name);
        let files = ControlNetFiles::open(&file, &tiny().unet).unwrap();
        assert_eq!(weights(&files), expected, "{name}");
    }
}

#[test]
fn a_file_without_a_controlnet_is_refused_with_what_it_lacks() {
    for (fixture, name) in [
        ("single_file.safetensors", "whole.safetensors"),
        ("single_file.ckpt", "whole.ckpt"),
        ("lora/kohya.safetensors", "lora.safetensors"),
    ] {
        let (_dir, file) = controlnet_file(fixture, name);
        let refused = ControlNetFiles::open(&file, &tiny().unet)
            .unwrap_err()
            .to_string();
        for word in [name, "control_model.input_hint_block.0.weight", "a ControlNet"] {
            assert!(refused.contains(word), "{refused}");
        }
    }
}

/// Without a description it has the U-net's shape, and the published widths of what reads the control image.
#[test]
fn a_controlnet_in_one_file_that_does_not_fit_is_refused_with_both_shapes() {
    let (dir, file) = controlnet_file("controlnet_file.pth", "published.pth");
    let mut other = tiny().unet;
    other.cross_attention_dim = 24;
    let refused = |unet| ControlNetFiles::open(&file, unet).unwrap_err().to_string();
    let said = refused(&other);
    assert!(
        said.contains("controlnet/config.json") && said.contains("another U-net"),
        "{said}"
    );
    fs::remove_dir_all(dir.path().join("controlnet")).unwrap();
    let said = refused(&tiny().unet);
    assert!(
        ["published.pth", "input_hint_block", "another U-net"]
            .iter()
            .all(|word| said.contains(word)),
        "{said}"
    );
    assert!(!said.contains("zero_convs"), "{said}");
}

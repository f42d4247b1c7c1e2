//! Adapters in both spellings, and a whole model in one file.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor};

use super::{Expected, fixtures, tiny};
use crate::diffusion::attention::SliceBytes;
use crate::diffusion::checkpoint::StableDiffusion;
use crate::diffusion::lora::DiffusionLora;
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

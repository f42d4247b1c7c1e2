//! The networks, one at a time.

use burn::tensor::{DType, Device, Tensor};

use super::{Expected, controlnet, fixtures, picture, planes, tiny};
use crate::diffusion::attention::SliceBytes;
use crate::diffusion::autoencoder::Tiles;
use crate::diffusion::checkpoint::StableDiffusion;
use crate::diffusion::config::{AutoencoderConfig, UnetConfig};
use crate::diffusion::text_encoder::TextEncoderConfig;
use crate::diffusion::unet::{Residuals, Unet};
use crate::weights::streaming::elements;

const TIMESTEPS: [f64; 2] = [981.0, 21.0];
const SLICE: SliceBytes = SliceBytes(1 << 20);

/// Each row at its own timestep, as the fixtures were computed.
fn rows(of: impl Fn(usize, f64) -> Tensor<4>) -> Tensor<4> {
    Tensor::cat(
        TIMESTEPS.iter().enumerate().map(|(row, &t)| of(row, t)).collect(),
        0,
    )
}

fn row<const D: usize>(tensor: &Tensor<D>, row: usize) -> Tensor<D> {
    tensor.clone().narrow(0, row, 1)
}

#[test]
fn unet_and_controlnet() {
    let (device, expected) = (Device::flex(), Expected::of("unet"));
    let unet = tiny().read_unet(&device, DType::F32, None).unwrap();
    let control = controlnet().read(&device, DType::F32).unwrap();
    let embedded = TIMESTEPS.map(|t| unet.embedded(t, &device));
    expected.compare("time.embedding", Tensor::cat(embedded.to_vec(), 0).into_data());
    for (shape, height, width) in [("square", 16, 16), ("wide", 16, 24)] {
        let named = |what: &str| format!("{shape}.{what}");
        let latents: Tensor<4> = expected.tensor(&named("latents"));
        let context: Tensor<3> = expected.tensor(&named("context"));
        let edges = planes(&[0, 1].map(|index| picture(index, height * 8, width * 8))) / 255.0;
        let edges = control.controlnet_cond_embedding.forward(edges);
        if shape == "square" {
            expected.compare("square.control_embedding", edges.to_data());
        }
        let residuals = [0, 1].map(|at| {
            let (latents, context) = (row(&latents, at), row(&context, at));
            control.forward(latents, TIMESTEPS[at], context, row(&edges, at), 1.0, SLICE)
        });
        for index in 0..residuals[0].down.len() {
            let name = named(&format!("down.{index}"));
            if expected.holds(&name) {
                let both = residuals.iter().map(|residuals| residuals.down[index].clone());
                expected.compare(&name, Tensor::cat(both.collect(), 0).into_data());
            }
        }
        let mid = residuals.iter().map(|residuals| residuals.mid.clone());
        expected.compare(&named("mid"), Tensor::cat(mid.collect(), 0).into_data());
        let noise = |residuals: &dyn Fn(usize) -> Option<Residuals>| {
            rows(|at, t| unet.forward(row(&latents, at), t, row(&context, at), residuals(at), SLICE))
        };
        expected.compare(&named("plain"), noise(&|_| None).into_data());
        expected.compare(
            &named("guided"),
            noise(&|at| Some(residuals[at].clone())).into_data(),
        );
    }
    expected.report("U-net with and without residuals, ControlNet, embedding of time");
}

#[test]
fn a_unet_with_matrices_for_projections_in_16_bits() {
    let expected = Expected::of("unet-sd2");
    let dir = fixtures().join("sd2/unet");
    let json = crate::directory::read_json(&dir.join("config.json")).unwrap();
    let config = UnetConfig::of_unet(json).unwrap();
    let unet: Unet = crate::diffusion::checkpoint::read_unet_of(&dir, &config).unwrap();
    let latents: Tensor<4> = expected.tensor("latents");
    let context: Tensor<3> = expected.tensor("context");
    let noise = rows(|at, t| unet.forward(row(&latents, at), t, row(&context, at), None, SLICE));
    expected.compare("plain", noise.into_data());
    expected.report("U-net as in Stable Diffusion 2, 16-bit file");
}

#[test]
fn autoencoder_both_ways_under_both_namings() {
    let (device, expected) = (Device::flex(), Expected::of("vae"));
    let vae = |model: &StableDiffusion| model.read_autoencoder(&device, DType::F32).unwrap();
    let older = crate::diffusion::checkpoint::read_autoencoder_of(
        &fixtures().join("vae-old-names"),
        &tiny().autoencoder,
    );
    for vae in [vae(&tiny()), older.unwrap()] {
        for (shape, height, width, stride) in [("square", 8, 8, 1), ("wide", 8, 12, 3)] {
            let named = |what: &str| format!("{shape}.{what}");
            let pixels = planes(&[picture(1, height * 8, width * 8)]) / 127.5 - 1.0;
            let latents = vae.encode(pixels, SLICE);
            expected.compare(&named("mean"), latents.mean.into_data());
            expected.compare(&named("logvar"), latents.log_variance.into_data());
            let decoded = vae.decode(expected.tensor(&named("latents")), SLICE);
            expected.compare(&named("decoded"), every(stride, decoded));
        }
    }
    expected.report("autoencoder both ways, both namings");
}

/// Every which row and column of a picture.
fn every(stride: usize, picture: Tensor<4>) -> burn::tensor::TensorData {
    let [_, channels, height, width] = picture.dims();
    let values: Vec<f32> = picture.into_data().try_to_vec().unwrap();
    let kept: Vec<f32> = (0..channels)
        .flat_map(|c| (0..height).step_by(stride).map(move |y| c * height + y))
        .flat_map(|row| (0..width).step_by(stride).map(move |x| row * width + x))
        .map(|place| values[place])
        .collect();
    let count = kept.len();
    burn::tensor::TensorData::new(kept, [count])
}

/// With `enable_tiling`: tiles of 16 latents, the last ones cut off by the picture's edge.
#[test]
fn autoencoder_in_tiles() {
    let expected = Expected::of("vae");
    let tiles = Tiles {
        latents: 16,
        factor: 8,
    };
    let vae = tiny().read_autoencoder(&Device::flex(), DType::F32).unwrap();
    let pixels = planes(&[picture(1, 160, 296)]) / 127.5 - 1.0;
    let latents = vae.encode_tiled(pixels, tiles, SLICE);
    expected.compare("tiled.mean", latents.mean.into_data());
    let decoded = vae.decode_tiled(expected.tensor("tiled.latents"), tiles, SLICE);
    expected.compare("tiled.decoded", every(7, decoded));
    expected.report("autoencoder in tiles");
}

/// Of the published checkpoints; counted without a weight in memory.
#[test]
fn the_published_shapes_have_the_published_numbers_of_parameters() {
    let device = Device::flex();
    let unet = UnetConfig::stable_diffusion_15();
    assert_eq!(elements(&unet.init_unet(&device, 0)), 859_520_964);
    assert_eq!(
        elements(&unet.with_control().init_controlnet(&device, 0)),
        361_279_120
    );
    assert_eq!(
        elements(&AutoencoderConfig::stable_diffusion_15().init(&device, 0)),
        83_653_863
    );
    assert_eq!(
        elements(&TextEncoderConfig::stable_diffusion_15().init(&device, 0)),
        123_060_480
    );
}

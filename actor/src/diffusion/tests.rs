//! The generator on tiny random checkpoints: what it paints is noise, where it paints is what counts.

use super::*;
use data::{CutoutError, GenerateError, GeneratedImage, ImageGenerator, NoImage, cutout::encode_rgb_png};
use image::{Rgba, RgbaImage};
use imaging::guardrails::leakage::leakage;
use models::device::Placement;
use models::diffusion::pipeline::Wanted;
use models::diffusion::prompt::LongPrompts;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

mod edges;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/fixtures/diffusion")
}

fn files() -> DiffusionFiles {
    DiffusionFiles {
        model: fixtures().join("tiny"),
        controlnet: fixtures().join("controlnet"),
        lora: None,
    }
}

fn small() -> DiffusionConfig {
    DiffusionConfig {
        width: 128,
        height: 64,
        steps: 2,
        ..DiffusionConfig::default()
    }
}

fn generator(config: DiffusionConfig) -> DiffusionGenerator {
    DiffusionGenerator::start(files(), config, Placement::cpu()).unwrap()
}

/// The files of a directory and of those below it, in another place under the same names.
fn copied(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match path.is_dir() {
            true => drop(copied(&path, &to.join(name))),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
    to.to_owned()
}

#[test]
fn what_is_stated_of_the_files_follows_from_their_weights_and_not_from_where_they_lie() {
    let directory = tempfile::tempdir().unwrap();
    let mut chunks = 0;
    let stated = files().contents(|| chunks += 1).unwrap();
    assert!(chunks > 0);
    let keys: Vec<&str> = stated.keys().collect();
    assert_eq!(keys, ["diffusion.controlnet.digest", "diffusion.model.digest"]);
    assert_eq!(stated.contents(), stated);
    let elsewhere = DiffusionFiles {
        controlnet: copied(&files().controlnet, &directory.path().join("elsewhere")),
        ..files()
    };
    let told = || elsewhere.contents(|| ()).unwrap();
    assert_eq!(told(), stated);
    let weights = elsewhere.controlnet.join("diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let others = told().others_than(&stated);
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].key, "diffusion.controlnet.digest");
}

/// A cut-out with a soft edge. `inside` is how deep a place is in it, in pixels from the picture's middle.
fn drawn(inside: impl Fn(f64, f64) -> f64, hidden: [u8; 3]) -> RgbaImage {
    RgbaImage::from_fn(270, 210, |x, y| {
        let depth = inside(f64::from(x) - 135.0, f64::from(y) - 105.0);
        let alpha = (depth * 64.0 + 128.0).clamp(0.0, 255.0) as u8;
        let [red, green, blue] = hidden;
        match alpha {
            0 => Rgba([red, green, blue, 0]),
            _ => Rgba([60 + (x / 4) as u8, 90, 60 + (y / 4) as u8, alpha]),
        }
    })
}

/// A disc; what is hidden around it is glaring.
fn disc() -> RgbaImage {
    drawn(|x, y| 90.0 - x.hypot(y), [255, 0, 255])
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn pictures(generator: &DiffusionGenerator, descriptions: &[&str]) -> Vec<GeneratedImage> {
    let group = generator.generate(&disc(), &texts(descriptions), 7).unwrap();
    group.into_iter().map(Result::unwrap).collect()
}

#[test]
fn the_product_stays_pixel_for_pixel_and_everything_around_it_is_painted() {
    for placing in [Placing::Premultiplied, Placing::Compat] {
        let generator = generator(DiffusionConfig { placing, ..small() });
        let picture = pictures(&generator, &["a wooden desk"]).remove(0);
        let placed = picture.placed.unwrap();
        assert_eq!(picture.image.dimensions(), (128, 64));
        assert!(placed.pixels().filter(|pixel| pixel.0[3] == 255).count() > 500);
        assert_eq!(leakage(&picture.image, &placed).unwrap().changed, 0.0);
        let around = |value: u8| {
            let pixels = picture.image.pixels().zip(placed.pixels());
            pixels
                .filter(|(found, product)| product.0[3] == 0 && found.0 == [value; 3])
                .count()
        };
        assert!(around(0) < 100, "{}", around(0));
    }
}

#[test]
fn a_box_says_where_the_product_stands() {
    let generator = generator(DiffusionConfig {
        region: vec![64, 8, 40, 40],
        ..small()
    });
    let placed = pictures(&generator, &["a wooden desk"]).remove(0).placed.unwrap();
    let outside = placed
        .enumerate_pixels()
        .filter(|(x, y, pixel)| pixel.0[3] > 0 && !((64..104).contains(x) && (8..48).contains(y)));
    assert_eq!(outside.count(), 0);
    assert_eq!(placed.get_pixel(84, 28).0[3], 255);
}

#[test]
fn a_group_shares_its_noise_and_each_picture_is_what_it_is_alone() {
    let generator = generator(small());
    let group = pictures(&generator, &["a wooden desk", "green leaves", "a wooden desk"]);
    assert_eq!(group[0], group[2]);
    assert_ne!(group[0].image, group[1].image);
    assert_eq!(group[1], pictures(&generator, &["green leaves"])[0]);
    let other_noise = generator.generate_one(&disc(), "green leaves", 8).unwrap();
    assert_ne!(group[1].image, other_noise.image);
}

#[test]
fn what_cannot_be_painted_is_refused_and_costs_nobody_else() {
    let refusing = generator(DiffusionConfig {
        long_prompts: LongPrompts::Refuse,
        ..small()
    });
    let long = "leaves ".repeat(90);
    let group = refusing
        .generate(&disc(), &texts(&[&long, "green leaves"]), 7)
        .unwrap();
    assert!(
        matches!(&group[0], Err(NoImage::Description(reason)) if reason.contains("75")),
        "{:?}",
        group[0]
    );
    assert_eq!(
        group[1].as_ref().unwrap(),
        &pictures(&refusing, &["green leaves"])[0]
    );
    let hidden = RgbaImage::from_pixel(20, 20, Rgba([9, 9, 9, 40]));
    let refused = refusing.generate(&hidden, &texts(&["green leaves"]), 7);
    let expected = CutoutError::Transparent {
        width: 20,
        height: 20,
    };
    let Err(GenerateError::Product(found)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(found.to_string(), expected.to_string());
}

#[test]
fn progress_and_pictures_come_from_one_painter_for_seeds_of_their_own() {
    let mut painter = Painter::open(&files(), small(), &Placement::cpu()).unwrap();
    let wanted = |seed| Wanted {
        description: "a wooden desk".into(),
        seed,
    };
    let mut last = None;
    let two = painter.paint(&disc(), &[wanted(3), wanted(4)], None, &mut |step| {
        last = Some(step)
    });
    let two: Vec<_> = two
        .unwrap()
        .into_iter()
        .map(|picture| encode_rgb_png(&picture.unwrap().image))
        .collect();
    assert_ne!(two[0], two[1]);
    let last = last.unwrap();
    assert_eq!((last.done, last.all), (4, 4));
}

/// A copy of the fixtures' ControlNet or model with one key of one configuration changed.
fn changed(part: &str, file: &str, key: &str, value: serde_json::Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixtures().join(part), dir.path());
    let path = dir.path().join(file);
    let mut json: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json.insert(key.into(), value);
    fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn refusal(files: DiffusionFiles) -> String {
    let opened = Painter::open(&files, small(), &Placement::cpu());
    opened
        .err()
        .map(|error| error.to_string())
        .expect("it is refused")
}

#[test]
fn networks_that_do_not_fit_are_refused_with_the_file_and_what_would_be_right() {
    let cases = [
        (
            "controlnet",
            "config.json",
            "cross_attention_dim",
            json!(24),
            ["expected 16", "another U-net"],
        ),
        (
            "controlnet",
            "config.json",
            "controlnet_conditioning_channel_order",
            json!("bgr"),
            ["bgr", "rgb"],
        ),
        (
            "tiny",
            "unet/config.json",
            "in_channels",
            json!(9),
            ["in_channels = 9", "expected 4"],
        ),
        (
            "tiny",
            "unet/config.json",
            "addition_embed_type",
            json!("text_time"),
            ["addition_embed_type", "not built here"],
        ),
        (
            "tiny",
            "vae/config.json",
            "latent_channels",
            json!(16),
            ["latent_channels = 16", "expected 4"],
        ),
        (
            "tiny",
            "text_encoder/config.json",
            "vocab_size",
            json!(300),
            ["tokenizer", "300"],
        ),
        (
            "tiny",
            "scheduler/scheduler_config.json",
            "rescale_betas_zero_snr",
            json!(true),
            ["rescale_betas_zero_snr", "false"],
        ),
        (
            "tiny",
            "unet/config.json",
            "layers_per_block",
            json!(1),
            ["unused", "down_blocks"],
        ),
    ];
    for (part, file, key, value, words) in cases {
        let dir = changed(part, file, key, value);
        let place = dir.path().to_owned();
        let message = refusal(match part {
            "controlnet" => DiffusionFiles {
                controlnet: place,
                ..files()
            },
            _ => DiffusionFiles {
                model: place,
                ..files()
            },
        });
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
    }
}

/// Latents of a quarter of a side fit neither the ControlNet nor the masks.
#[test]
fn an_autoencoder_of_another_factor_is_refused() {
    let dir = changed("tiny", "vae/config.json", "block_out_channels", json!([4, 8, 8]));
    let path = dir.path().join("vae/config.json");
    let mut json: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json.insert("down_block_types".into(), json!(vec!["DownEncoderBlock2D"; 3]));
    json.insert("up_block_types".into(), json!(vec!["UpDecoderBlock2D"; 3]));
    fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
    let message = refusal(DiffusionFiles {
        model: dir.path().to_owned(),
        ..files()
    });
    assert!(
        message.contains("vae/config.json") && message.contains("four levels"),
        "{message}"
    );
}

#[test]
fn a_negative_prompt_that_is_too_long_is_the_configurations_fault() {
    let config = DiffusionConfig {
        negative_prompt: "leaves ".repeat(90),
        long_prompts: LongPrompts::Refuse,
        ..small()
    };
    let opened = Painter::open(&files(), config, &Placement::cpu());
    let message = opened.err().map(|error| error.to_string()).unwrap();
    assert!(message.contains("negative_prompt"), "{message}");
}

#[test]
fn files_that_are_missing_or_cut_off_are_named() {
    let missing = DiffusionFiles {
        model: fixtures().join("nowhere"),
        ..files()
    };
    assert!(refusal(missing).contains("nowhere"));
    let dir = tempfile::tempdir().unwrap();
    copy(&fixtures().join("tiny"), dir.path());
    let weights = dir.path().join("unet/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let cut = DiffusionFiles {
        model: dir.path().to_owned(),
        ..files()
    };
    let message = refusal(cut);
    assert!(
        message.contains("unet/diffusion_pytorch_model.safetensors"),
        "{message}"
    );
}

//! The generator on tiny random checkpoints: what it paints is noise, where it paints is what counts.

use super::*;
use data::{
    CaigCatalogue, Catalogue as _, CutoutError, GenerateError, GeneratedImage, ImageGenerator, NoImage,
    cutout::encode_rgb_png,
};
use image::{Rgba, RgbaImage};
use imaging::canny::{HIGH_THRESHOLD, LOW_THRESHOLD, canny};
use imaging::control::control_image;
use imaging::guardrails::{halo::halo, leakage::leakage};
use models::device::Placement;
use models::diffusion::pipeline::Wanted;
use models::diffusion::prompt::LongPrompts;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

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

fn drawn_cutouts() -> Vec<RgbaImage> {
    let ring = drawn(|x, y| 30.0 - (x.hypot(y) - 65.0).abs(), [255; 3]);
    let diamond = drawn(|x, y| 80.0 - x.abs() / 2.0 - y.abs() * 0.9, [0; 3]);
    let lens = drawn(|x, y| 120.0 - x.hypot(y.abs() + 50.0), [0, 255, 0]);
    vec![disc(), ring, diamond, lens]
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

/// The disc, striped: all its edges are strong ones, so that none hangs on what lies outside it.
fn striped() -> RgbaImage {
    let disc = disc();
    RgbaImage::from_fn(270, 210, |x, y| {
        let [.., alpha] = disc.get_pixel(x, y).0;
        match (alpha, x / 30 % 2) {
            (0, _) => Rgba([255, 0, 255, 0]),
            (_, 0) => Rgba([220, 200, 40, alpha]),
            _ => Rgba([20, 60, 90, alpha]),
        }
    })
}

#[test]
fn the_control_image_has_the_finished_pictures_edges_wherever_the_product_is_opaque() {
    const SIDE: u32 = 128;
    for placing in [Placing::Premultiplied, Placing::Compat] {
        let config = DiffusionConfig {
            placing,
            height: SIDE as usize,
            ..small()
        };
        let painted = generator(config).generate_one(&striped(), "a wooden desk", 7);
        let picture = painted.unwrap();
        let placed = picture.placed.unwrap();
        let (control, edges) = (
            control_image(&placed),
            canny(&picture.image, LOW_THRESHOLD, HIGH_THRESHOLD),
        );
        // An edge depends on the colours of 5x5 pixels.
        let is_opaque = |x: u32, y: u32| {
            let mut around = (x - 2..=x + 2).flat_map(|x| (y - 2..=y + 2).map(move |y| (x, y)));
            around.all(|(x, y)| placed.get_pixel(x, y).0[3] == 255)
        };
        let all = (2..SIDE - 2).flat_map(|x| (2..SIDE - 2).map(move |y| (x, y)));
        let (mut compared, mut on_edges) = (0, 0);
        for (x, y) in all.filter(|(x, y)| is_opaque(*x, *y)) {
            let [edge] = edges.get_pixel(x, y).0;
            assert_eq!(control.get_pixel(x, y).0, [edge; 3], "{placing:?} {x} {y}");
            compared += 1;
            on_edges += u32::from(edge > 0);
        }
        assert!(compared > 5000 && on_edges > 300, "{compared} {on_edges}");
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

/// The rims of all pictures with both placings, levels of 255: the default's, CAIG's.
fn rims(cutouts: &[RgbaImage], seeds: [u64; 2], config: &DiffusionConfig) -> Vec<(f64, f64)> {
    let [ours, theirs] = [Placing::Premultiplied, Placing::Compat].map(|placing| {
        let generator = generator(DiffusionConfig {
            placing,
            ..config.clone()
        });
        let rim = |cutout: &RgbaImage, seed| {
            let picture = generator.generate_one(cutout, "a wooden desk", seed).unwrap();
            let placed = picture.placed.unwrap();
            assert_eq!(leakage(&picture.image, &placed).unwrap().changed, 0.0);
            let rim = halo(&picture.image, &placed).unwrap();
            assert!(rim.measured > 0);
            rim.excess
        };
        let all = cutouts
            .iter()
            .flat_map(|cutout| seeds.map(|seed| rim(cutout, seed)));
        all.collect::<Vec<f64>>()
    });
    ours.into_iter().zip(theirs).collect()
}

#[test]
fn premultiplied_edges_have_no_more_halo_than_the_references() {
    let rims = rims(&drawn_cutouts(), [7, 8], &small());
    assert_eq!(rims.len(), 8);
    assert!(rims.iter().all(|(ours, theirs)| ours <= theirs), "{rims:?}");
    // Each is of one smooth colour at its edge, so that all of a rim would be the background's.
    assert!(
        rims.iter().all(|(ours, theirs)| *ours < 0.1 && *theirs > 0.1),
        "{rims:?}"
    );
}

/// Cut-outs that are not in the repository, painted as large as by default.
#[test]
#[ignore = "needs a catalogue of your own: ADWRIGHT_PRODUCTS=FILE, as docs/images.md shows"]
fn premultiplied_edges_of_products_of_your_own_have_no_more_halo_than_the_references() {
    #[expect(clippy::disallowed_methods, reason = "only this test asks for them")]
    let file =
        std::env::var("ADWRIGHT_PRODUCTS").expect("ADWRIGHT_PRODUCTS names a catalogue in CAIG's form");
    let catalogue = CaigCatalogue::load(Path::new(&file)).unwrap();
    let config = DiffusionConfig {
        steps: 2,
        ..DiffusionConfig::default()
    };
    for product in catalogue.products() {
        let rims = rims(std::slice::from_ref(&product.image), [5, 6], &config);
        println!("halo around product {}: {rims:.2?} (default, compat)", product.id);
        assert!(
            rims.iter().all(|(ours, theirs)| ours <= theirs),
            "product {}: {rims:?}",
            product.id
        );
    }
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

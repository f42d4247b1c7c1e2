//! A run whose actor paints with Stable Diffusion in miniature, and pictures painted by hand with the same files.

use crate::held_out::reward_of_base;
use crate::stage::{LONG_LEASES, Stage, command, configured, done};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Side of the pictures, in pixels: none that the simulated shop renders.
const SIDE: u32 = 72;

/// `--set` of what every painter here is told.
const SETTINGS: [&str; 6] = [
    "diffusion.model=tiny-sd",
    "diffusion.controlnet=tiny-sd/controlnet",
    "diffusion.width=72",
    "diffusion.height=72",
    "diffusion.steps=2",
    "diffusion.sampler=ddim",
];

fn init(directory: &Path) {
    let arguments = ["init", "--preset", "tiny-sd", "--seed", "5", "--out", "tiny-sd"];
    done(&command(directory, &arguments).output().unwrap());
}

fn images(directory: &Path, run: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.join(format!("store/runs/{run}/images"))).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_run_paints_around_its_products() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    init(directory);
    let mut settings = vec!["actor.image_generator=diffusion"];
    settings.extend(SETTINGS);
    let of_run: Vec<_> = [&settings[..], &[LONG_LEASES]]
        .concat()
        .iter()
        .map(|&setting| setting.to_owned())
        .collect();
    let (reward, learner) = (stage.reward_server(), stage.learner_with("painted", &of_run));
    let _actor = stage.actor_with("painter", &learner, &reward, &settings);
    stage.adapter_of("painted", learner);

    let outcomes = outcomes(directory, "painted");
    let of = |outcome: &str| outcomes.iter().filter(|line| line["outcome"] == outcome).count();
    assert!(of("pair") > 0);
    assert_eq!(of("failed"), 0);
    for line in &outcomes {
        let barred = line["barred"].as_array().unwrap();
        assert_eq!(barred.len(), 2, "{line}");
        // What is barred for its noise may be; a product that changed would be the composite's fault.
        assert!(!line["barred"].to_string().contains("leakage"), "{line}");
    }
    all_are_of_side(directory, "painted", SIDE);

    // What the policy does on test products is measured on pictures of the same painter.
    let (painted, drawn) = (
        reward_of_base(directory, &settings),
        reward_of_base(directory, &[]),
    );
    assert_ne!(painted, drawn);
    assert_eq!(painted, reward_of_base(directory, &settings));
}

/// A run's outcomes.
fn outcomes(directory: &Path, run: &str) -> Vec<Value> {
    let export = ["ledger", "export", "--store", "store", "--run", run];
    let lines = done(&configured(directory, &export).output().unwrap());
    let parsed = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    parsed.collect()
}

fn all_are_of_side(directory: &Path, run: &str, side: u32) {
    let images = images(directory, run);
    assert!(!images.is_empty());
    for file in images {
        let picture = data::cutout::decode_rgb(&fs::read(&file).unwrap());
        assert_eq!(picture.unwrap().dimensions(), (side, side), "{}", file.display());
    }
}

/// Products of a catalogue in CAIG's form that are not in the repository: each comes to a pair, and nothing is barred.
#[test]
#[ignore = "needs a catalogue of your own: ADWRIGHT_PRODUCTS=FILE, as docs/images.md shows"]
fn a_run_paints_around_products_of_your_own() {
    const TASKS: usize = 12;
    let file =
        std::env::var("ADWRIGHT_PRODUCTS").expect("ADWRIGHT_PRODUCTS names a catalogue in CAIG's form");
    let file = fs::canonicalize(file).unwrap();
    let catalogue: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    init(directory);
    let source = format!("catalogue.source={}", file.display());
    let mut settings = vec!["actor.image_generator=diffusion", &source];
    settings.extend(SETTINGS);
    settings.extend(["diffusion.width=128", "diffusion.height=128"]);
    let length = ["learner.versions=3", "learner.pairs_per_version=4", LONG_LEASES];
    let of_run: Vec<_> = settings
        .iter()
        .chain(&length)
        .map(|&set| set.to_owned())
        .collect();
    let (reward, learner) = (stage.reward_server(), stage.learner_with("products", &of_run));
    let _actor = stage.actor_with("painter", &learner, &reward, &settings);
    stage.adapter_of("products", learner);

    let outcomes = outcomes(directory, "products");
    assert!(outcomes.len() >= TASKS, "{}", outcomes.len());
    for line in &outcomes {
        assert_eq!(line["outcome"], "pair", "{line}");
        assert_eq!(line["barred"], serde_json::json!([null, null]), "{line}");
    }
    for product in catalogue.as_array().unwrap().iter().take(TASKS) {
        let of_it = |line: &&Value| line["product"] == product["id"];
        assert!(outcomes.iter().any(|line| of_it(&line)), "{product}");
    }
    all_are_of_side(directory, "products", 128);
}

#[test]
fn what_paints_can_be_inspected() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    init(directory);
    let inspected = |place: &str| -> Value {
        let arguments = ["inspect", place, "--json"];
        serde_json::from_str(&done(&command(directory, &arguments).output().unwrap())).unwrap()
    };
    for (place, layout, tokenizer) in [
        ("tiny-sd", "sd15", Value::from("json")),
        ("tiny-sd/controlnet", "controlnet", Value::Null),
    ] {
        let found = inspected(place);
        assert_eq!(found["layout"], layout, "{found}");
        assert_eq!(found["tokenizer"], tokenizer, "{found}");
        assert!(found["parameters"].as_u64().unwrap() > 10_000, "{found}");
        for list in ["missing", "unused", "misshaped"] {
            assert_eq!(found[list], serde_json::json!([]), "{found}");
        }
    }
}

/// A red disc on pure white.
fn product() -> image::RgbImage {
    image::RgbImage::from_fn(60, 60, |x, y| {
        let inside = (x.abs_diff(30)).pow(2) + (y.abs_diff(30)).pow(2) < 20 * 20;
        image::Rgb(if inside { [180, 30, 20] } else { [255; 3] })
    })
}

fn rendered(directory: &Path, out: &str, more: &[&str]) -> Vec<(PathBuf, String)> {
    let mut arguments = vec![
        "render",
        "--product",
        "disc.png",
        "--prompt",
        "a wooden desk",
        "--out",
        out,
        "--json",
    ];
    arguments.extend(more);
    let mut command = command(directory, &arguments);
    command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
    let json: Value = serde_json::from_str(&done(&command.output().unwrap())).unwrap();
    let images = json["images"].as_array().unwrap();
    let image = |image: &Value| {
        let text = |key: &str| image[key].as_str().unwrap().to_owned();
        assert_eq!(image["guardrails"]["leakage"]["changed"], 0.0, "{image}");
        (directory.join(text("path")), text("digest"))
    };
    images.iter().map(image).collect()
}

#[test]
fn a_seed_is_a_picture_alone_or_beside_others_and_what_is_wrong_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    init(directory);
    product().save(directory.join("disc.png")).unwrap();
    let three = rendered(directory, "three", &["--seed", "6", "--num", "3"]);
    let alone = rendered(directory, "alone", &["--seed", "7"]);
    assert_eq!(three.len(), 3);
    assert_eq!(three[1].1, alone[0].1);
    assert_ne!(three[0].1, three[1].1);
    for (path, digest) in &three {
        let bytes = fs::read(path).unwrap();
        assert_eq!(&blake3::hash(&bytes).to_string(), digest);
        let picture = data::cutout::decode_rgb(&bytes).unwrap();
        assert_eq!(picture.dimensions(), (SIDE, SIDE));
        assert_eq!(picture.get_pixel(SIDE / 2, SIDE / 2).0, [180, 30, 20]);
    }

    image::RgbaImage::new(9, 9)
        .save(directory.join("hidden.png"))
        .unwrap();
    fs::write(directory.join("text.png"), "no picture").unwrap();
    let refused = |arguments: &[&str]| {
        let mut all = vec!["render", "--prompt", "a wooden desk", "--out", "none"];
        all.extend(arguments);
        let mut command = command(directory, &all);
        // What a flag says is not set again, which would win.
        let keys = [
            ("--sd", "model="),
            ("--steps", "steps="),
            ("--scheduler", "sampler="),
            ("--width", "width="),
        ];
        let flags = keys.iter().filter(|(flag, _)| arguments.contains(flag));
        let flagged: Vec<&str> = flags.map(|(_, key)| *key).collect();
        let free = SETTINGS
            .iter()
            .filter(|setting| !flagged.iter().any(|key| setting.contains(key)));
        command.args(free.flat_map(|setting| ["--set", setting]));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (arguments, words) in [
        (vec!["--product", "hidden.png"], vec!["hidden.png", "9x9"]),
        (vec!["--product", "text.png"], vec!["text.png", "PNG or JPEG"]),
        (vec!["--product", "gone.png"], vec!["gone.png"]),
        (vec!["--product", "disc.png", "--sd", "nowhere"], vec!["nowhere"]),
        (
            vec!["--product", "disc.png", "--steps", "0"],
            vec!["--steps", "1 to 999"],
        ),
        (
            vec!["--product", "disc.png", "--scheduler", "heun"],
            vec!["--scheduler", "euler-a"],
        ),
        (
            vec!["--product", "disc.png", "--width", "70"],
            vec!["--width", "multiple of 8"],
        ),
        (
            vec!["--product", "disc.png", "--latents", "disc.png"],
            vec!["disc.png", "safetensors"],
        ),
    ] {
        let said = refused(&arguments);
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{arguments:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
}

//! Each guardrail of pictures bars what it is for, and leaves a clean picture alone.

use super::*;
use common::with_causes;
use data::cutout;
use image::{Rgb, RgbImage, Rgba, RgbaImage};

/// A side that hashes and soft edges have room in.
const SIDE: u32 = 64;

/// An orange disc with a soft edge, placed on the canvas.
fn placed() -> RgbaImage {
    RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        let centre = f64::from(SIDE) / 2.0;
        let (dx, dy) = (f64::from(x) + 0.5 - centre, f64::from(y) + 0.5 - centre);
        let alpha = ((20.0 - dx.hypot(dy)) * 100.0 + 128.0).clamp(0.0, 255.0) as u8;
        Rgba([240, 120, 20, alpha])
    })
}

/// A background with structure; another one for each seed.
fn background(seed: u32) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let wave = |frequency: u32| f64::from((x * (frequency % 3 + 1) + y * (frequency % 5)) / 8 % 6) * 9.0;
        Rgb([(20.0 + wave(seed)) as u8, (40.0 + wave(seed + 7)) as u8, 150])
    })
}

fn clean(seed: u32) -> GeneratedImage {
    let placed = placed();
    GeneratedImage {
        image: cutout::composite(&background(seed), &placed),
        placed: Some(placed),
        defects: 0,
    }
}

fn on(background: RgbImage) -> GeneratedImage {
    GeneratedImage {
        image: cutout::composite(&background, &placed()),
        ..clean(0)
    }
}

fn found(config: &GuardrailsConfig, images: &[GeneratedImage]) -> Vec<Option<Guardrail>> {
    let guardrails = Guardrails::open(config).unwrap();
    let mut group = guardrails.of_group();
    let mut find = |image| group.of_picture(image).unwrap().map(|barred| barred.guardrail);
    images.iter().map(&mut find).collect()
}

fn flat(shade: u8) -> RgbImage {
    RgbImage::from_pixel(SIDE, SIDE, Rgb([shade; 3]))
}

#[test]
fn each_fault_is_found_by_its_guardrail_and_its_setting_turns_it_off() {
    let changed = {
        let mut image = clean(1);
        image.image.put_pixel(SIDE / 2, SIDE / 2, Rgb([240, 120, 21]));
        image
    };
    let haloed = {
        let mut image = clean(1);
        for (pixel, product) in image.image.pixels_mut().zip(placed().pixels()) {
            if (1..255).contains(&product.0[3]) {
                *pixel = Rgb([255; 3]);
            }
        }
        image
    };
    // The product's colour around it, another one in the corners.
    let hidden = on(RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let corner = x.abs_diff(SIDE / 2) + y.abs_diff(SIDE / 2) > SIDE * 3 / 4;
        if corner {
            Rgb([10, 20, 90])
        } else {
            Rgb([240, 120, 20])
        }
    }));
    type TurnOff = fn(&mut GuardrailsConfig);
    let cases: [(GeneratedImage, Guardrail, TurnOff); 5] = [
        (on(flat(200)), Guardrail::Blank, |config| config.min_spread = 0.0),
        (on(flat(0)), Guardrail::Blank, |config| {
            (config.min_spread, config.max_black_share) = (0.0, 1.0)
        }),
        (changed, Guardrail::Leakage, |config| config.max_changed = 1.0),
        (haloed, Guardrail::Halo, |config| config.max_halo = 255.0),
        (hidden, Guardrail::Visibility, |config| {
            config.min_distinct_outline = 0.0
        }),
    ];
    for (image, guardrail, turn_off) in cases {
        let mut config = GuardrailsConfig::default();
        assert_eq!(found(&config, std::slice::from_ref(&image)), [Some(guardrail)]);
        turn_off(&mut config);
        assert_eq!(found(&config, &[image]), [None], "{guardrail:?}");
    }
    let small = GuardrailsConfig {
        min_product_area: 0.9,
        ..GuardrailsConfig::default()
    };
    assert_eq!(found(&small, &[clean(2)]), [Some(Guardrail::Visibility)]);
    assert_eq!(
        found(&GuardrailsConfig::default(), &[clean(1), clean(2)]),
        [None, None]
    );
}

#[test]
fn without_the_placed_product_only_blank_pictures_are_found() {
    let unplaced = |image| GeneratedImage {
        image,
        placed: None,
        defects: 0,
    };
    let images = [flat(0), flat(255), flat(90), background(3)].map(unplaced);
    let blank = Some(Guardrail::Blank);
    assert_eq!(
        found(&GuardrailsConfig::default(), &images),
        [blank, blank, blank, None]
    );
}

#[test]
fn near_duplicates_are_compared_within_their_group_with_what_is_not_barred() {
    let config = GuardrailsConfig {
        near_duplicates: true,
        ..GuardrailsConfig::default()
    };
    let mut lighter = background(1);
    lighter.iter_mut().for_each(|level| *level += 3);
    let lighter = on(lighter);
    let images = [on(flat(0)), on(flat(1)), clean(1), clean(2), lighter, clean(1)];
    let (blank, again) = (Some(Guardrail::Blank), Some(Guardrail::NearDuplicate));
    assert_eq!(found(&config, &images), [blank, blank, None, None, again, again]);
    assert_eq!(found(&config, &images[4..5]), [None], "another group begins anew");
    assert_eq!(
        found(&GuardrailsConfig::default(), &[clean(1), clean(1)]),
        [None, None]
    );
}

#[test]
fn listed_pictures_are_found_and_a_list_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = GuardrailsConfig {
        image_blocklist: directory.path().to_str().unwrap().into(),
        image_blocklist_bits: 2,
        ..GuardrailsConfig::default()
    };
    let refusal = || with_causes(&Guardrails::open(&config).err().unwrap()[0]);
    assert!(refusal().contains("names nothing"));
    std::fs::create_dir(directory.path().join("more")).unwrap();
    let file = directory.path().join("rival.png");
    std::fs::write(&file, "not a picture").unwrap();
    assert!(refusal().contains("rival.png"), "{}", refusal());
    std::fs::write(&file, cutout::encode_rgb_png(&clean(1).image)).unwrap();
    assert_eq!(
        found(&config, &[clean(1), clean(2)]),
        [Some(Guardrail::ImageBlocklist), None]
    );
    let absent = GuardrailsConfig {
        image_blocklist: file.with_file_name("absent").to_str().unwrap().into(),
        ..config
    };
    let refusal = with_causes(&Guardrails::open(&absent).err().unwrap()[0]);
    assert!(
        refusal.contains("absent") && refusal.contains("directory"),
        "{refusal}"
    );
    let both = GuardrailsConfig {
        text_blocklist: "/nowhere/words.txt".into(),
        ..absent
    };
    let keys: Vec<_> = Guardrails::open(&both)
        .err()
        .unwrap()
        .iter()
        .map(|list| list.key)
        .collect();
    let lists = ["text_blocklist", "image_blocklist"];
    assert_eq!(keys, lists.map(|list| format!("actor.guardrails.{list}")));
}

#[test]
fn what_lists_hold_is_stated_whatever_their_files_are_called() {
    let directory = tempfile::tempdir().unwrap();
    let stated = |pictures: &[(&str, u32)], words: &str| {
        let (list, place) = (directory.path().join("words.txt"), tempfile::tempdir().unwrap());
        std::fs::write(&list, words).unwrap();
        for &(name, number) in pictures {
            let picture = cutout::encode_rgb_png(&clean(number).image);
            std::fs::write(place.path().join(name), picture).unwrap();
        }
        let config = GuardrailsConfig {
            text_blocklist: list.to_str().unwrap().into(),
            image_blocklist: place.path().to_str().unwrap().into(),
            ..GuardrailsConfig::default()
        };
        Guardrails::open(&config).unwrap().contents()
    };
    let run = stated(&[("a.png", 1), ("b.png", 2)], "beer\n");
    assert_eq!(run.contents(), run);
    assert_eq!(stated(&[("c.png", 2), ("d.png", 1)], "# drinks\nbeer"), run);
    let others = stated(&[("a.png", 1)], "wine\n").others_than(&run);
    let keys: Vec<&str> = others.iter().map(|other| other.key.as_str()).collect();
    let lists = ["image_blocklist", "text_blocklist"];
    assert_eq!(keys, lists.map(|list| format!("actor.guardrails.{list}.digest")));
    assert_eq!(
        Guardrails::open(&GuardrailsConfig::default()).unwrap().contents(),
        DecidingSettings::default()
    );
}

#[test]
fn a_placed_product_of_another_size_is_an_error() {
    let guardrails = Guardrails::open(&GuardrailsConfig::default()).unwrap();
    let mismatched = GeneratedImage {
        placed: Some(RgbaImage::new(3, 3)),
        ..clean(0)
    };
    assert!(guardrails.of_group().of_picture(&mismatched).is_err());
}

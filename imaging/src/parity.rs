//! Compares with OpenCV, pixel for pixel: `parity/opencv.py` wrote the pictures and its answers.

use crate::{
    area,
    canny::{HIGH_THRESHOLD, LOW_THRESHOLD, canny},
    dilate::dilate,
    placement::compat,
};
use image::{GrayImage, Luma, RgbImage, RgbaImage};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// How many answers of each kind were compared, and the mistakes that were found.
#[derive(Default)]
struct Comparison {
    compared: BTreeMap<String, usize>,
    mistakes: Vec<String>,
}

fn compare(folder: &Path) -> Comparison {
    let mut comparison = Comparison::default();
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let name = file
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .strip_suffix(".png")
            .unwrap();
        let Some((input, question)) = name.split_once('.') else {
            continue;
        };
        let picture = image::open(folder.join(format!("{input}.png")))
            .unwrap()
            .into_rgba8();
        let expected = image::open(&file).unwrap().into_rgba8();
        let (kind, answer) = answer(&picture, question);
        *comparison.compared.entry(kind.to_owned()).or_default() += 1;
        comparison.mistakes.extend(mistake(name, &answer, &expected));
    }
    comparison
}

/// What a file's name asks, and our answer.
fn answer<'a>(picture: &RgbaImage, question: &'a str) -> (&'a str, RgbaImage) {
    let (kind, rest) = question.split_once('-').unwrap_or((question, ""));
    let (width, height) = picture.dimensions();
    // What OpenCV finds in one channel is what is found in three equal ones.
    let grey = |c: usize| {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([picture.get_pixel(x, y).0[c]; 3])
        })
    };
    let channel = |c: usize| GrayImage::from_fn(width, height, |x, y| Luma([picture.get_pixel(x, y).0[c]]));
    match (kind, rest) {
        ("canny", "gray") => (question, rgba(canny(&grey(1), LOW_THRESHOLD, HIGH_THRESHOLD))),
        ("canny", _) => {
            let colours = RgbImage::from_fn(width, height, |x, y| {
                let [red, green, blue, _] = picture.get_pixel(x, y).0;
                image::Rgb([red, green, blue])
            });
            (kind, rgba(canny(&colours, LOW_THRESHOLD, HIGH_THRESHOLD)))
        }
        ("dilate", side) => (kind, rgba(dilate(&channel(3), side.parse().unwrap()))),
        ("area", size) => {
            let (width, height) = sides(size);
            (kind, area::resize(picture, width, height).unwrap())
        }
        ("place", rest) => {
            let (size, scale) = rest.split_once('-').unwrap();
            let (width, height) = sides(size);
            let placed = compat::place(picture, width, height, scale.parse().unwrap());
            (kind, placed.unwrap())
        }
        _ => panic!("no answer to {question}"),
    }
}

fn sides(text: &str) -> (u32, u32) {
    let (width, height) = text.split_once('x').unwrap();
    (width.parse().unwrap(), height.parse().unwrap())
}

fn rgba(picture: GrayImage) -> RgbaImage {
    image::DynamicImage::from(picture).into_rgba8()
}

fn mistake(name: &str, answer: &RgbaImage, expected: &RgbaImage) -> Option<String> {
    if answer.dimensions() != expected.dimensions() {
        return Some(format!(
            "{name}: {:?}, not {:?}",
            answer.dimensions(),
            expected.dimensions()
        ));
    }
    let differing = answer
        .enumerate_pixels()
        .zip(expected.pixels())
        .filter(|((_, _, a), b)| a != b);
    let places: Vec<_> = differing.map(|((x, y, a), b)| (x, y, a.0, b.0)).collect();
    (!places.is_empty()).then(|| format!("{name}: {} pixels, first {:?}", places.len(), places[0]))
}

#[test]
fn every_answer_is_opencvs() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures");
    let Comparison { compared, mistakes } = compare(&fixtures);
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    let counts: Vec<(&str, usize)> = compared
        .iter()
        .map(|(kind, count)| (kind.as_str(), *count))
        .collect();
    assert_eq!(
        counts,
        [
            ("area", 35),
            ("canny", 12),
            ("canny-gray", 12),
            ("dilate", 24),
            ("place", 9)
        ]
    );
}

/// Compares cut-outs that are not in the repository. `parity/opencv.py --of` writes them and OpenCV's answers into
/// `target/opencv`.
#[test]
#[ignore = "needs cut-outs of your own: imaging/parity/opencv.py --of FOLDER writes them into target/opencv"]
fn every_answer_to_cutouts_of_your_own_is_opencvs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/opencv");
    let Comparison { compared, mistakes } = compare(&folder);
    println!("compared {compared:?}");
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(
        compared.values().sum::<usize>() > 0,
        "no answers in {}",
        folder.display()
    );
}

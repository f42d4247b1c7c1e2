//! The wire of earlier days stays as it was. The build compares today's with it (`proto/build.rs`); who changed both would break older actors
//! without a word.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The days whose definitions are closed, each with the digest of its files. A newer day closes the one before it, which comes in here.
const CLOSED: [(&str, &str); 2] = [
    (
        "2026-11-28",
        "66dee9b6cd71e8da2d9b2554639796cef585155ce3766b5f041fbcf30f360a89",
    ),
    (
        "2026-11-29",
        "6e0fd949494504fa728e18871f125910f2ab7c940d27bff7e414644018184940",
    ),
];

/// The files below a directory, in the order of their paths.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of definitions");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    paths.into_iter().flat_map(below).collect()
}

#[test]
fn of_the_wires_baselines_only_the_newest_may_change() {
    let baselines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/baseline");
    let mut days: Vec<_> = fs::read_dir(&baselines)
        .unwrap()
        .map(|day| day.unwrap().file_name().into_string().unwrap())
        .collect();
    days.sort();
    days.pop();
    let found = days.iter().map(|day| {
        let (day_is, mut hasher) = (baselines.join(day), blake3::Hasher::new());
        for file in files(&day_is) {
            let (path, content) = (file.strip_prefix(&day_is).unwrap(), fs::read(&file).unwrap());
            hasher.update(format!("{} {}\n", blake3::hash(&content), path.display()).as_bytes());
        }
        (day.clone(), hasher.finalize().to_string())
    });
    let closed = CLOSED.map(|(day, digest)| (day.to_owned(), digest.to_owned()));
    assert_eq!(
        found.collect::<Vec<_>>(),
        closed,
        "left: proto/baseline as it is; right: as it was. Put changes into the newest day"
    );
}

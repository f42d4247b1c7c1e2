//! Against transformers, element by element: every small checkpoint in `parity/fixtures` is read and run, and what comes
//! out is compared with what transformers made of it.
//!
//! `cargo test --workspace parity -- --nocapture` prints the table of docs/results.md.
//!
//! The tolerance is 1e-4 of the largest expected number of a layer: both sides compute in f32 and add up in other orders,
//! which over these widths differs by some 1e-6; a wrong epsilon, activation or rounding of a pixel shows at 1e-3 or more.

mod conversion;
mod policy;
mod reward_model;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbaImage;

const TOLERANCE: f64 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures")
}

fn picture(name: &str) -> RgbaImage {
    image::open(fixtures().join("images").join(name))
        .unwrap()
        .into_rgba8()
}

#[test]
fn parity_fixtures_are_there() {
    assert!(fs::read_dir(fixtures().join("images")).unwrap().count() > 8);
}

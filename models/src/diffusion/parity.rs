//! Against diffusers, part by part: small random checkpoints in `parity/fixtures/diffusion` are read and run, and every number
//! is compared with what diffusers computed from the same inputs.
//!
//! `just parity` prints the largest differences.
//!
//! Numbers of the networks are of order 1. Both sides compute in f32 and add up in other orders: 1e-5 is some ten times what
//! f32 alone loses against f64 here, and a wrong epsilon, activation or padding shows at 1e-2.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use image::RgbImage;
use safetensors::{Dtype, SafeTensors, serialize as to_bytes};

use super::checkpoint::{ControlNetFiles, StableDiffusion};
use crate::directory::read;
use crate::weights::{NamedTensors, from_safetensors};

mod adapters;
mod networks;
mod noise;
mod pictures;
mod samplers;
mod text;

pub(super) const TOLERANCE: f64 = 2e-5;

pub(super) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures/diffusion")
}

fn tiny() -> StableDiffusion {
    StableDiffusion::open(&fixtures().join("tiny")).unwrap()
}

fn controlnet() -> ControlNetFiles {
    ControlNetFiles::open(&fixtures().join("controlnet"), &tiny().unet).unwrap()
}

/// What diffusers computed.
struct Expected {
    tensors: NamedTensors,
    /// The largest difference so far.
    worst: Cell<f64>,
}

impl Expected {
    fn of(name: &str) -> Self {
        let path = fixtures().join("expected").join(format!("{name}.safetensors"));
        let bytes = read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (short, known): (Vec<_>, Vec<_>) = file.iter().partition(|(_, view)| view.dtype() == Dtype::U16);
        let known = to_bytes(known, None).unwrap();
        let mut tensors = from_safetensors(&known).unwrap();
        for (name, view) in short {
            let numbers = view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| f32::from(u16::from_le_bytes(bytes)));
            let data = TensorData::new(numbers.collect::<Vec<f32>>(), view.shape().to_vec());
            tensors.insert(name.to_owned(), data);
        }
        Self {
            tensors,
            worst: Cell::new(0.0),
        }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        Tensor::from_data(self.tensors[name].clone(), (&Device::flex(), DType::F32))
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.tensors[name].iter().collect()
    }

    fn report(&self, part: &str) {
        report(part, self.worst.get());
    }

    fn holds(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The largest difference; every number is looked at.
    fn compare(&self, name: &str, ours: TensorData) {
        let (expected, ours) = (self.numbers(name), ours.iter::<f64>().collect::<Vec<_>>());
        assert_eq!(ours.len(), expected.len(), "{name}");
        let difference = largest_difference(&ours, &expected);
        self.worst.set(self.worst.get().max(difference));
        assert!(difference < TOLERANCE, "{name}: {difference:e}");
    }
}

/// A row of the table in docs/results.md.
fn report(part: &str, worst: f64) {
    println!("| {part} | {worst:.0e} |");
}

fn largest_difference(ours: &[f64], expected: &[f64]) -> f64 {
    let pairs = ours.iter().zip(expected);
    // A NaN is a difference.
    pairs.fold(0.0, |most, (ours, expected)| {
        let difference = (ours - expected).abs();
        if difference <= most { most } else { difference }
    })
}

/// The picture that the generator draws by the same formula: number, rows, columns.
fn picture(index: u32, height: u32, width: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let channel = |c: u32| ((x * (5 + c) + y * (9 - 2 * c) + 37 * index + ((x * y) >> 3)) & 255) as u8;
        image::Rgb([channel(0), channel(1), channel(2)])
    })
}

/// `[pictures, 3, height, width]` with values from 0 to 255.
fn planes(pictures: &[RgbImage]) -> Tensor<4> {
    let (width, height) = pictures[0].dimensions();
    let channel = |picture: &RgbImage, c: usize| {
        picture
            .pixels()
            .map(move |p| f32::from(p.0[c]))
            .collect::<Vec<_>>()
    };
    let values: Vec<f32> = pictures
        .iter()
        .flat_map(|picture| (0..3).flat_map(|c| channel(picture, c)))
        .collect();
    let shape = [pictures.len(), 3, height as usize, width as usize];
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

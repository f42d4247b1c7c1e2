//! PyTorch's random numbers.

use burn::tensor::Device;
use serde::Deserialize;

use super::{Expected, fixtures};
use crate::diffusion::noise::NoiseStream;
use crate::directory::read_json;

#[derive(Deserialize)]
struct Draws {
    draws: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    seed: String,
    shapes: Vec<Vec<usize>>,
}

#[test]
fn a_seed_gives_the_numbers_that_pytorch_draws() {
    let expected = Expected::of("randn");
    let draws: Draws = read_json(&fixtures().join("expected/randn.json")).unwrap();
    for (index, row) in draws.draws.iter().enumerate() {
        let mut stream = NoiseStream::new(row.seed.parse().unwrap());
        for (draw, shape) in row.shapes.iter().enumerate() {
            let numbers = stream.normal([shape.iter().product()], &Device::flex());
            expected.compare(&format!("{index}.{draw}"), numbers.into_data());
        }
    }
    expected.report("random numbers");
}

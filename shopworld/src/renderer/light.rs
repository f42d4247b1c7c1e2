//! Light: a gain that varies over the picture, and the colour of the lamp.

use super::pattern::inside;
use crate::art::{Colour, length};

/// `colour` under a light at a point; a light that was not understood is a flat dimness.
pub(super) fn lit(light: Option<usize>, colour: Colour, u: f32, v: f32) -> Colour {
    let (gain, lamp) = match light {
        None => (0.7, WHITE),
        Some(0) => (1.06, WHITE),
        Some(1) => (spotlight(u, v), WHITE),
        Some(2) => (1.45 - 0.95 * u, [0.97, 1.0, 1.05]),
        Some(3) => (0.5 + 0.95 * u, [1.14, 0.96, 0.78]),
        Some(4) => (1.5 - 1.0 * v, WHITE),
        Some(_) => (0.42 + 1.0 * v * v, [1.2, 0.98, 0.7]),
    };
    std::array::from_fn(|c| (colour[c] * gain * lamp[c]).min(1.0))
}

const WHITE: Colour = [1.0; 3];

/// A bright disc with a soft edge; the corners stay dark.
fn spotlight(u: f32, v: f32) -> f32 {
    let radius = length(u - 0.5, v - 0.5);
    0.36 + 1.0 * inside(radius - 0.46, 0.3)
}

//! What the product stands on: a plane that recedes towards the horizon, two colours and a pattern of stripes.

use super::{
    HORIZON,
    pattern::{inside, phase, speckle, triangle, wave},
};
use crate::art::{Colour, length, mix, rgb};

/// What a surface that was not understood looks like.
const GREY: Colour = [0.44, 0.44, 0.44];

/// The colour of a surface at a point below the horizon.
pub(super) fn colour(surface: Option<usize>, u: f32, v: f32) -> Colour {
    let Some(surface) = surface else { return GREY };
    let (ground, mark) = COLOURS[surface];
    let depth = ((v - HORIZON) / (1.0 - HORIZON)).clamp(0.0, 1.0);
    // Lines that run away from the viewer meet above the horizon; lines across lie closer far away.
    let x = (u - 0.5) / (0.6 + 0.4 * depth);
    let y = depth * (1.6 - 0.6 * depth);
    let share = match surface {
        0 => 0.75 * line(x * 7.0, 0.12).max(0.45 * wave(y * 9.0 + x)),
        1 => 0.9 * line(y * 4.0, 0.16).max(0.5 * wave(x * 5.0 + y * 2.0)),
        2 => line((x + 0.25 * triangle(y * 1.5)) * 3.0 + y, 0.1),
        3 => grains(u * 28.0, v * 28.0),
        4 => line(x * 3.0, 0.05)
            .max(line(y * 2.0, 0.08))
            .max(0.3 * speckle(u * 16.0, v * 16.0)),
        5 => 0.5 * line(x * 12.0, 0.5) + 0.5 * line(y * 9.0, 0.5),
        6 => line(y * 4.0 + 0.8 * triangle(x * 6.0), 0.45),
        7 => 0.9 * triangle(u * 18.0 + 3.0 * speckle(u * 18.0, y * 5.0)) * speckle(u * 18.0, v * 18.0),
        8 => 0.8 * wave(y * 5.0 + 0.5 * wave(x * 2.0)),
        9 => line(x * 2.5 + y * 1.2, 0.24),
        10 => wave(x * 3.0 + 0.7 * wave(y * 1.5 + x)),
        _ => 0.8 * line(y * 11.0, 0.5).max(1.2 * (1.0 - 4.0 * (x - 0.28).abs()).max(0.0)),
    };
    mix(rgb(ground), rgb(mark), share.clamp(0.0, 1.0))
}

/// Ground and stripe colours, in the order of the vocabulary.
const COLOURS: [([u8; 3], [u8; 3]); 12] = [
    ([222, 174, 112], [166, 114, 60]),
    ([112, 70, 44], [58, 32, 20]),
    ([244, 242, 240], [150, 150, 158]),
    ([34, 34, 40], [196, 196, 206]),
    ([172, 172, 168], [112, 112, 110]),
    ([226, 220, 214], [158, 150, 148]),
    ([124, 44, 92], [240, 206, 170]),
    ([126, 198, 82], [50, 124, 40]),
    ([250, 212, 128], [214, 160, 78]),
    ([150, 214, 224], [236, 252, 255]),
    ([168, 10, 34], [246, 76, 84]),
    ([132, 140, 154], [226, 232, 240]),
];

/// 1 on a stripe that takes `share` of each period.
fn line(t: f32, share: f32) -> f32 {
    if phase(t) < share { 1.0 } else { 0.0 }
}

/// Round grains in some cells of a grid.
fn grains(x: f32, y: f32) -> f32 {
    let radius = length(phase(x) - 0.5, phase(y) - 0.5);
    if speckle(x, y) > 0.62 {
        0.9 * inside(radius - 0.36, 0.3)
    } else {
        0.0
    }
}

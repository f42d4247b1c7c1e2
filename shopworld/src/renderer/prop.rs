//! The prop: one stamp in each of three corners, a sixth of the picture wide.

use super::pattern::inside;
use crate::art::{Colour, STAMPS, length, mix, shade};

/// Side of a stamp as a share of the picture: 8 of 48 pixels.
const SIDE: f32 = 8.0 / 48.0;
/// The corners that are stamped, as offsets in units of the free space: top left, top right, bottom right.
const CORNERS: [(f32, f32); 3] = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)];
/// What a prop that was not understood looks like.
const GREY: Colour = [0.5, 0.5, 0.5];

/// Stamps a prop over a picture of `size` pixels square.
pub(super) fn stamp(prop: Option<usize>, colours: &mut [Colour], size: u32) {
    let side = (size as f32 * SIDE).round().max(1.0) as u32;
    for (across, down) in CORNERS {
        let corner = |share: f32| (share * (size - side) as f32).round() as u32;
        let (left, top) = (corner(across), corner(down));
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            let colour = &mut colours[((top + y) * size + left + x) as usize];
            *colour = stamped(prop, *colour, x, y, side);
        }
    }
}

/// The colour of one pixel of a stamp: the drawing on a bright patch that sets it off from any background.
fn stamped(prop: Option<usize>, under: Colour, x: u32, y: u32, side: u32) -> Colour {
    let Some(prop) = prop else { return GREY };
    let pixel = 2.0 / side as f32;
    let at = |i: u32| (i as f32 + 0.5) * pixel - 1.0;
    let patch = mix(under, [0.97, 0.96, 0.93], 0.72 * rounded(at(x), at(y), pixel));
    let (ink, coverage) = shade(STAMPS[prop], [at(x), at(y)], pixel, |_| GREY);
    mix(patch, ink, coverage)
}

/// 1 within a square with rounded corners that just fits the stamp, 0 outside.
fn rounded(x: f32, y: f32, pixel: f32) -> f32 {
    let corner = 0.5;
    let (dx, dy) = (
        (x.abs() - 1.0 + corner).max(0.0),
        (y.abs() - 1.0 + corner).max(0.0),
    );
    inside(length(dx, dy) - corner, pixel)
}

//! The shadow at the product's foot, so that it stands instead of floating.

use super::HORIZON;
use crate::art::{Colour, length};
use image::RgbaImage;

/// How dark the middle of the shadow is.
const DARKNESS: f32 = 0.5;
/// Half the shadow's height as a share of the picture.
const HALF_HEIGHT: f32 = 0.035;

/// Darkens a flat ellipse under a placed product; a product that ends above the horizon casts none.
pub(super) fn cast(colours: &mut [Colour], placed: &RgbaImage) {
    let size = placed.width();
    let Some(foot) = (0..size).rev().find(|&y| (0..size).any(|x| opaque(placed, x, y))) else {
        return;
    };
    let foot_height = (foot as f32 + 1.0) / size as f32;
    if foot_height < HORIZON {
        return;
    }
    let base = foot.saturating_sub(size / 16)..=foot;
    let touches = |x: u32| base.clone().any(|y| opaque(placed, x, y));
    let (Some(left), Some(right)) = (
        (0..size).find(|&x| touches(x)),
        (0..size).rev().find(|&x| touches(x)),
    ) else {
        return;
    };
    let centre = (left + right + 1) as f32 / 2.0;
    let half_width = (right + 1 - left) as f32 * 0.56 + 1.0;
    let half_height = HALF_HEIGHT * size as f32;
    let (row, reach) = (size as usize, 1.25 * half_height);
    let first = (foot as f32 - reach).max(0.0) as usize;
    let last = ((foot as f32 + reach).ceil() as usize).min(row);
    for (index, colour) in colours.iter_mut().enumerate().take(last * row).skip(first * row) {
        let (x, y) = ((index % row) as f32 + 0.5, (index / row) as f32 + 0.5);
        let radius = length((x - centre) / half_width, (y - foot as f32) / half_height);
        let dark = DARKNESS * (1.25 - radius).clamp(0.0, 1.0);
        *colour = colour.map(|channel| channel * (1.0 - dark));
    }
}

fn opaque(placed: &RgbaImage, x: u32, y: u32) -> bool {
    placed.get_pixel(x, y).0[3] >= 128
}

//! The palette: all colours drawn towards one tint, keeping their brightness.

use crate::art::{Colour, mix};

/// `colour` under a palette; a palette that was not understood washes out.
pub(super) fn tint(palette: Option<usize>, colour: Colour) -> Colour {
    let luma = 0.3 * colour[0] + 0.55 * colour[1] + 0.15 * colour[2];
    let towards =
        |tint: Colour, share: f32| mix(colour, tint.map(|channel| (channel * luma).min(1.0)), share);
    match palette {
        None => mix(colour, [0.5; 3], 0.5),
        Some(0) => mix(colour, [1.0, 0.96, 0.98], 0.42),
        Some(1) => towards([0.98, 0.72, 0.48], 0.55),
        Some(2) => towards([0.5, 0.95, 1.6], 0.5),
        Some(3) => towards([1.7, 0.6, 0.6], 0.5),
        Some(4) => towards([0.7, 1.35, 0.95], 0.5),
        Some(5) => towards([1.45, 1.15, 0.35], 0.5),
        Some(6) => towards([1.15, 0.7, 1.6], 0.5),
        Some(_) => towards([1.0, 1.0, 1.0], 0.85),
    }
}

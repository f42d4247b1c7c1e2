//! Small periodic and pseudo-random functions that textures are made of.

use crate::art::floor;

/// Position within a period, 0 to 1.
pub(super) fn phase(t: f32) -> f32 {
    t - floor(t)
}

/// A triangle wave of period 1 between 0 and 1, 0 at whole numbers.
pub(super) fn triangle(t: f32) -> f32 {
    1.0 - (2.0 * phase(t) - 1.0).abs()
}

/// A smooth wave of period 1 between 0 and 1, 0 at whole numbers.
pub(super) fn wave(t: f32) -> f32 {
    let t = triangle(t);
    t * t * (3.0 - 2.0 * t)
}

/// 1 where `distance` is negative, 0 where it is positive, smooth over a width of `soft`.
pub(super) fn inside(distance: f32, soft: f32) -> f32 {
    (0.5 - distance / soft).clamp(0.0, 1.0)
}

/// A number from 0 to 1 that looks random, the same for the same cell.
pub(super) fn speckle(column: f32, row: f32) -> f32 {
    let cell = (floor(column) as i32 as u32).wrapping_mul(0x9e37_79b1)
        ^ (floor(row) as i32 as u32).wrapping_mul(0x85eb_ca77);
    let mixed = (cell ^ (cell >> 15)).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ (mixed >> 12)).wrapping_mul(0x297a_2d39);
    (mixed ^ (mixed >> 15)) as f32 / u32::MAX as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_stay_within_their_bounds_and_repeat() {
        for i in -50..50 {
            let t = i as f32 * 0.13;
            for f in [phase, triangle, wave] {
                assert!((0.0..=1.0).contains(&f(t)));
                assert!((f(t) - f(t + 1.0)).abs() < 1e-3 || (f(t) - f(t + 1.0)).abs() > 0.999);
            }
        }
    }

    #[test]
    fn speckles_spread_evenly() {
        let values = (0..100).flat_map(|x| (0..100).map(move |y| speckle(x as f32, y as f32)));
        let high = values.filter(|value| *value > 0.75).count();
        assert!((2_200..2_800).contains(&high), "{high}");
    }
}

//! Mask leakage: product pixels that were to stay and did not.

use crate::error::{ImagingError, same_size};
use image::{RgbImage, RgbaImage};

/// The largest share of fully opaque pixels that may have changed: none, because the composite keeps each bit of them.
pub const MAX_CHANGED: f64 = 0.0;

/// What became of the fully opaque product pixels (alpha 255).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leakage {
    /// How many there are. A tool that cuts products out may leave a whole body at 254, where nothing is promised.
    pub opaque: u64,
    /// The share of them whose colour changed, 0 to 1; 0 when there are none.
    pub changed: f64,
    /// By how much a channel changed, in levels of 255: mean over the channels of all of them.
    pub mean_change: f64,
}

/// Compares a finished picture with the product that was placed in it.
///
/// # Errors
/// [`ImagingError::SizesDiffer`] when the two differ in size.
pub fn leakage(picture: &RgbImage, placed: &RgbaImage) -> Result<Leakage, ImagingError> {
    same_size("the picture", picture.dimensions(), placed.dimensions())?;
    let (mut opaque, mut changed, mut change) = (0u64, 0u64, 0u64);
    for (found, kept) in picture
        .pixels()
        .zip(placed.pixels())
        .filter(|(_, kept)| kept.0[3] == 255)
    {
        let channels = found.0.iter().zip(&kept.0[..3]);
        let difference: u64 = channels
            .map(|(found, kept)| u64::from(found.abs_diff(*kept)))
            .sum();
        opaque += 1;
        changed += u64::from(difference > 0);
        change += difference;
    }
    let pixels = opaque.max(1) as f64;
    Ok(Leakage {
        opaque,
        changed: changed as f64 / pixels,
        mean_change: change as f64 / (3.0 * pixels),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composite::composite;
    use image::Rgba;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_composite_leaks_nothing_and_damage_is_counted(
            bytes in prop::collection::vec(any::<u8>(), 6 * 5 * 4),
            background in prop::collection::vec(any::<u8>(), 6 * 5 * 3),
            damaged in 0usize..=10, by in 1u8..=255,
        ) {
            let mut placed = RgbaImage::from_raw(6, 5, bytes).unwrap();
            for x in 0..10 {
                placed.put_pixel(x % 6, x / 6, Rgba([x as u8 * 20, 7, 200, 255]));
            }
            let opaque = placed.pixels().filter(|pixel| pixel.0[3] == 255).count();
            let background = RgbImage::from_raw(6, 5, background).unwrap();
            let mut picture = composite(&background, &placed).unwrap();
            prop_assert_eq!(leakage(&picture, &placed).unwrap(), Leakage { opaque: opaque as u64, changed: 0.0, mean_change: 0.0 });
            for x in 0..damaged as u32 {
                picture.get_pixel_mut(x % 6, x / 6).0[1] ^= by;
            }
            let found = leakage(&picture, &placed).unwrap();
            prop_assert_eq!(found.changed, damaged as f64 / opaque as f64);
            let change = f64::from((7 ^ by).abs_diff(7)) * damaged as f64 / (3 * opaque) as f64;
            prop_assert!((found.mean_change - change).abs() < 1e-9);
        }
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        assert!(leakage(&RgbImage::new(2, 3), &RgbaImage::new(3, 2)).is_err());
    }
}

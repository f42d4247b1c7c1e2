//! The finished picture: a placed product laid over its background.
//!
//! One rounding serves both modes. The reference computes `round((1 - m) * product + m * background)` with m = (255 - alpha) / 255
//! in floating point; that is an integer over 255, which is odd, so that it never lies half-way between two levels but at least
//! 1/510 away: every precision and rule of rounding agrees with the integers here. Modes differ in how the product was placed
//! ([`crate::placement`]), which is where hidden colours come in or stay out.

use crate::error::{ImagingError, same_size};
use image::{Rgb, RgbImage, RgbaImage};

/// Lays a placed product over a background of the same size: `round(alpha * product + (1 - alpha) * background)`, so that fully
/// opaque pixels stay exactly as they are and fully transparent ones show the background.
///
/// # Errors
/// [`ImagingError::SizesDiffer`] when the two differ in size.
pub fn composite(background: &RgbImage, placed: &RgbaImage) -> Result<RgbImage, ImagingError> {
    same_size("the background", background.dimensions(), placed.dimensions())?;
    let mut picture = background.clone();
    for (under, over) in picture.pixels_mut().zip(placed.pixels()) {
        let alpha = u32::from(over.0[3]);
        let mix = |under: u8, over: u8| {
            ((u32::from(over) * alpha + u32::from(under) * (255 - alpha) + 127) / 255) as u8
        };
        *under = Rgb(std::array::from_fn(|c| mix(under.0[c], over.0[c])));
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    /// All alphas and products against some backgrounds, in both of the reference's possible precisions.
    #[test]
    fn rounding_is_the_references_in_any_precision() {
        let placed = RgbaImage::from_fn(256, 256, |x, y| Rgba([x as u8, 255 - x as u8, x as u8, y as u8]));
        for level in (0..=255u8).step_by(15) {
            let background = RgbImage::from_pixel(256, 256, Rgb([level, level, 255 - level]));
            let picture = composite(&background, &placed).unwrap();
            for (x, y, pixel) in picture.enumerate_pixels() {
                let (over, under) = (placed.get_pixel(x, y).0, background.get_pixel(x, y).0);
                for channel in 0..3 {
                    let mask = f64::from(255 - over[3]) / 255.0;
                    let exact = (1.0 - mask) * f64::from(over[channel]) + mask * f64::from(under[channel]);
                    let mask = f32::from(255 - over[3]) / 255.0;
                    let single = (1.0 - mask) * f32::from(over[channel]) + mask * f32::from(under[channel]);
                    assert_eq!(pixel.0[channel], exact.round_ties_even() as u8);
                    assert_eq!(pixel.0[channel], single.round_ties_even() as u8);
                }
            }
        }
    }

    #[test]
    fn a_background_of_another_size_is_refused() {
        let refused = composite(&RgbImage::new(4, 5), &RgbaImage::new(5, 4)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the background is 4x5 pixels, not 5x4 as the product's canvas"
        );
    }
}

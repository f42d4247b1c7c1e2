//! Blank or black picture: the background was not painted. Safety checkers of diffusion pipelines return black; a broken
//! number format returns one colour.

use crate::{
    error::{ImagingError, same_size},
    luma::luma,
};
use image::{RgbImage, RgbaImage};

/// The least spread of luma that counts as painted, in levels of 255. Even a studio wall has a gradient and grain of more; one colour
/// with the rounding of a decoder stays below 1.
pub const MIN_SPREAD: f64 = 2.0;

/// Luma up to which a pixel is near black, in levels of 255: what a screen in a lit room does not tell from black.
pub const NEAR_BLACK: u32 = 8;

/// The largest share of near-black background: a night scene has lights.
pub const MAX_BLACK_SHARE: f64 = 0.98;

/// What lies outside the product (alpha 0).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backdrop {
    /// The standard deviation of luma, in levels of 255.
    pub spread: f64,
    /// The share of pixels with a luma of at most [`NEAR_BLACK`], 0 to 1.
    pub black_share: f64,
}

impl Backdrop {
    /// Whether nothing was painted, by the default bounds.
    pub fn is_blank(&self) -> bool {
        self.spread < MIN_SPREAD || self.black_share > MAX_BLACK_SHARE
    }
}

/// Measures the background of a finished picture; none when the product leaves no pixel of it.
///
/// # Errors
/// [`ImagingError::SizesDiffer`] when the two differ in size.
pub fn backdrop(picture: &RgbImage, placed: &RgbaImage) -> Result<Option<Backdrop>, ImagingError> {
    same_size("the picture", picture.dimensions(), placed.dimensions())?;
    let outside = picture
        .pixels()
        .zip(placed.pixels())
        .filter(|(_, product)| product.0[3] == 0);
    let (mut count, mut black, mut sum, mut squares) = (0u64, 0u64, 0u64, 0u128);
    for (pixel, _) in outside {
        let luma = luma(pixel.0);
        count += 1;
        black += u64::from(luma <= NEAR_BLACK * 1000);
        sum += u64::from(luma);
        squares += u128::from(luma) * u128::from(luma);
    }
    if count == 0 {
        return Ok(None);
    }
    // In integers, which cannot lose a small spread beside a large mean.
    let variance = u128::from(count) * squares - u128::from(sum) * u128::from(sum);
    Ok(Some(Backdrop {
        spread: (variance as f64).sqrt() / count as f64 / 1000.0,
        black_share: black as f64 / count as f64,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, Rgba};
    use proptest::prelude::*;

    /// A product in the left half.
    fn half() -> RgbaImage {
        RgbaImage::from_fn(16, 8, |x, _| Rgba([255, 0, 0, if x < 8 { 255 } else { 0 }]))
    }

    proptest! {
        #[test]
        fn one_colour_is_blank_whatever_the_product_shows(colour in any::<[u8; 3]>(), product in any::<[u8; 3]>()) {
            let picture = RgbImage::from_fn(16, 8, |x, y| {
                Rgb(if x >= 8 { colour } else { product.map(|level| level.wrapping_mul((x + y) as u8)) })
            });
            let measured = backdrop(&picture, &half()).unwrap().unwrap();
            prop_assert_eq!(measured.spread, 0.0);
            prop_assert!(measured.is_blank());
        }

        #[test]
        fn the_spread_grows_with_contrast_and_not_with_brightness(step in 1u8..60, dark in 20u8..100, lift in 0u8..30) {
            let stripes = |dark: u8, step: u8| {
                let picture = RgbImage::from_fn(16, 8, |_, y| Rgb([dark + step * (y % 2) as u8; 3]));
                backdrop(&picture, &half()).unwrap().unwrap().spread
            };
            prop_assert!((stripes(dark, step) - f64::from(step) / 2.0).abs() < 1e-9);
            prop_assert!((stripes(dark + lift, step) - stripes(dark, step)).abs() < 1e-9);
        }
    }

    #[test]
    fn a_black_picture_with_grain_is_blank_and_a_night_with_a_light_is_not() {
        let grain = RgbImage::from_fn(16, 8, |x, y| Rgb([((x * 5 + y * 3) % 8) as u8; 3]));
        assert!(backdrop(&grain, &half()).unwrap().unwrap().is_blank());
        let mut night = grain;
        for x in 9..12 {
            night.put_pixel(x, 4, Rgb([250, 240, 200]));
        }
        assert!(!backdrop(&night, &half()).unwrap().unwrap().is_blank());
    }

    #[test]
    fn a_product_that_fills_the_canvas_has_no_background() {
        let placed = RgbaImage::from_pixel(3, 3, Rgba([0, 0, 0, 1]));
        assert_eq!(backdrop(&RgbImage::new(3, 3), &placed), Ok(None));
    }
}

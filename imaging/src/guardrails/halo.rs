//! Edge halo: a light, dark or coloured rim along the product's soft edge that is neither the product's nor the background's.
//!
//! In an ideal composite a soft pixel is a mix of a product colour and a background colour, so each of its channels lies
//! between the two. Which colours these are is read from the picture around it: the product's from solid pixels (alpha of at least 250),
//! the background's from fully transparent ones. What a channel lies above or below all of them is alien: it came from what was
//! hidden behind the cut-out, or from multiplying with alpha once too often. A fringe whose colour lies between product and
//! background is not counted; it looks like a slightly different outline, not like a rim.

use crate::{
    around::{self, Around},
    error::{ImagingError, same_size},
    region::SOLID,
};
use image::{RgbImage, RgbaImage};

/// How far around a soft pixel its colours are looked for, in pixels: as far as [`crate::soft_edge`] does.
pub const RADIUS: usize = around::RADIUS;

/// The largest mean excess that counts as clean, in levels of 255. Of four real cut-outs on ten synthetic backgrounds, two well-cut ones measure below 2; two with
/// a light fringe up to 8.3, which no composite can take away and which is no reason to refuse a picture.
/// So the bound finds gross mistakes; whether one composite is better than another is told by comparing the two.
pub const MAX_HALO: f64 = 10.0;

/// The rim of a picture's soft edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Halo {
    /// How far measured pixels lie outside the colours around them, in levels of 255: the largest of the three channels, mean
    /// over the measured pixels; 0 when there are none.
    pub excess: f64,
    /// Soft pixels (alpha 1 to 249) that have solid and fully transparent pixels around them.
    pub measured: usize,
}

/// Measures the rim of a finished picture. It is 0 for an ideal composite whose colours at the soft edge also occur around it, and
/// unchanged when product and background trade places in brightness.
///
/// # Errors
/// [`ImagingError::SizesDiffer`] when the two differ in size.
pub fn halo(picture: &RgbImage, placed: &RgbaImage) -> Result<Halo, ImagingError> {
    same_size("the picture", picture.dimensions(), placed.dimensions())?;
    let around = Around::of(placed, |alpha| alpha >= SOLID);
    let beyond = Around::of(placed, |alpha| alpha == 0);
    let soft = placed
        .enumerate_pixels()
        .filter(|(.., pixel)| (1..SOLID).contains(&pixel.0[3]));
    let measured: Vec<(u32, u32)> = soft
        .map(|(x, y, _)| (x, y))
        .filter(|(x, y)| around.has_any(*x, *y) && beyond.has_any(*x, *y))
        .collect();
    let mut worst = vec![0u8; measured.len()];
    for channel in 0..3 {
        let (product, background) = (around.range(picture, channel), beyond.range(picture, channel));
        for ((x, y), worst) in measured.iter().zip(&mut worst) {
            let least = product.least(*x, *y).min(background.least(*x, *y));
            let most = product.most(*x, *y).max(background.most(*x, *y));
            let level = picture.get_pixel(*x, *y).0[channel];
            *worst = (*worst)
                .max(least.saturating_sub(level))
                .max(level.saturating_sub(most));
        }
    }
    // The sum of nothing is -0 in floating point.
    let sum = worst.iter().fold(0.0, |sum, worst| sum + f64::from(*worst));
    Ok(Halo {
        excess: sum / measured.len().max(1) as f64,
        measured: measured.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composite::composite;
    use image::{Rgb, Rgba};
    use proptest::prelude::*;

    /// A product whose left edge is soft over three columns of colour `edge`.
    fn product(colour: [u8; 3], edge: impl Fn(u8) -> [u8; 3]) -> RgbaImage {
        RgbaImage::from_fn(24, 16, |x, _| {
            let alpha = [0, 60, 128, 200, 255][x.saturating_sub(8).min(4) as usize];
            let [red, green, blue] = if alpha == 255 { colour } else { edge(alpha) };
            Rgba([red, green, blue, alpha])
        })
    }

    fn excess(background: [u8; 3], placed: &RgbaImage) -> f64 {
        let picture = composite(&RgbImage::from_pixel(24, 16, Rgb(background)), placed).unwrap();
        let halo = halo(&picture, placed).unwrap();
        assert_eq!(halo.measured, 3 * 16);
        halo.excess
    }

    proptest! {
        #[test]
        fn an_ideal_composite_has_none(colour in any::<[u8; 3]>(), background in any::<[u8; 3]>()) {
            prop_assert_eq!(excess(background, &product(colour, |_| colour)), 0.0);
        }

        #[test]
        fn a_hidden_colour_shows_the_more_the_stranger_it_is(
            level in 60u8..120, background in 60u8..120, near in 130u8..200, more in 1u8..50
        ) {
            // Each soft pixel's colour is mixed with what is hidden, as averaging without alpha does.
            let rim = |hidden: u8| {
                let mixed = |alpha: u8| {
                    let alpha = f64::from(alpha) / 255.0;
                    [(alpha * f64::from(level) + (1.0 - alpha) * f64::from(hidden)).round() as u8; 3]
                };
                excess([background; 3], &product([level; 3], mixed))
            };
            prop_assert!(rim(near) <= rim(near + more));
            prop_assert!(rim(255) > 0.0);
        }

        #[test]
        fn multiplying_with_alpha_twice_is_a_dark_rim(level in 60u8..=255, background in 60u8..=255) {
            let twice = |alpha: u8| [(f64::from(level) * f64::from(alpha) / 255.0).round() as u8; 3];
            let dark = excess([background; 3], &product([level; 3], twice));
            if level.abs_diff(background) < 20 {
                prop_assert!(dark > 1.0, "{dark}");
            }
            prop_assert!(dark >= 0.0);
        }

        #[test]
        fn turning_all_colours_around_keeps_it(bytes in prop::collection::vec(any::<u8>(), 24 * 16 * 3)) {
            let placed = product([0; 3], |_| [0; 3]);
            let picture = RgbImage::from_raw(24, 16, bytes).unwrap();
            let turned = RgbImage::from_fn(24, 16, |x, y| Rgb(picture.get_pixel(x, y).0.map(|level| 255 - level)));
            prop_assert_eq!(halo(&picture, &placed).unwrap(), halo(&turned, &placed).unwrap());
        }
    }

    #[test]
    fn a_hard_edge_has_nothing_to_measure() {
        let placed = RgbaImage::from_fn(9, 9, |x, _| Rgba([9, 9, 9, if x < 4 { 0 } else { 255 }]));
        let Halo { excess, measured } = halo(&RgbImage::new(9, 9), &placed).unwrap();
        assert_eq!(measured, 0);
        // Not -0, which JSON would show.
        assert_eq!(excess.to_bits(), 0.0f64.to_bits());
    }
}

//! Product visibility: how much of the canvas the product takes, and how well it stands out against the background along its outline.
//!
//! Contrast is the colour difference of CIE 1976 between the mean product colour and the mean background colour near each
//! pixel of the outline. Means over a small window are compared, not neighbours, so that a texture is not taken for contrast.

use crate::{
    error::{ImagingError, not_empty, same_size},
    lab::{difference, lab},
    region::{SOLID, VISIBLE},
};
use image::{RgbImage, RgbaImage};

/// How far from an outline pixel colours are averaged, in pixels: past a soft edge of one to three pixels, and still local.
pub const RADIUS: u32 = 5;

/// The difference from which a piece of outline is told from its background: twice the just noticeable one of about 2.3 (Mahy et
/// al. 1994), because nobody looks at an advertisement as at two plates in a laboratory.
pub const DISTINCT: f64 = 4.6;

/// The least share of the outline that must be distinct: with less than half of it the shape is not recognised.
pub const MIN_DISTINCT_SHARE: f64 = 0.5;

/// The least share of the canvas: a square product of a tenth of the canvas's side.
pub const MIN_AREA_SHARE: f64 = 0.01;

/// How well the product can be seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Visibility {
    /// The sum of alpha over the canvas, 0 to 1.
    pub area_share: f64,
    /// The contrast along the outline, mean colour difference of CIE 1976. None without an outline: of a product that fills the
    /// canvas, or has no solid part (alpha of at least 250) by its edge.
    pub contrast: Option<f64>,
    /// The share of the outline with a contrast of at least [`DISTINCT`], 0 to 1; none as `contrast`.
    pub distinct_share: Option<f64>,
}

/// Measures how well the product stands out in a finished picture.
///
/// # Errors
/// [`ImagingError::SizesDiffer`] when the two differ in size, [`ImagingError::Empty`] without pixels.
pub fn visibility(picture: &RgbImage, placed: &RgbaImage) -> Result<Visibility, ImagingError> {
    not_empty("the picture", picture.dimensions())?;
    same_size("the picture", picture.dimensions(), placed.dimensions())?;
    let alphas = placed.pixels().map(|pixel| u64::from(pixel.0[3]));
    let area_share = alphas.sum::<u64>() as f64 / (255.0 * placed.pixels().len() as f64);
    let contrasts: Vec<f64> = outline(placed)
        .filter_map(|(x, y)| contrast(picture, placed, x, y))
        .collect();
    let mean = |sum: f64| (!contrasts.is_empty()).then(|| sum / contrasts.len() as f64);
    let distinct = contrasts.iter().filter(|contrast| **contrast >= DISTINCT).count();
    Ok(Visibility {
        area_share,
        contrast: mean(contrasts.iter().sum()),
        distinct_share: mean(distinct as f64),
    })
}

/// Product pixels beside one that is none.
fn outline(placed: &RgbaImage) -> impl Iterator<Item = (u32, u32)> + '_ {
    let shows = |x: u32, y: u32| placed.get_pixel(x, y).0[3] >= VISIBLE;
    let (right, bottom) = (placed.width() - 1, placed.height() - 1);
    placed
        .enumerate_pixels()
        .map(|(x, y, _)| (x, y))
        .filter(move |(x, y)| {
            let (x, y) = (*x, *y);
            shows(x, y)
                && (!shows(x.saturating_sub(1), y)
                    || !shows((x + 1).min(right), y)
                    || !shows(x, y.saturating_sub(1))
                    || !shows(x, (y + 1).min(bottom)))
        })
}

/// The colour difference across the outline at a pixel; none when either side has no pure pixel near.
fn contrast(picture: &RgbImage, placed: &RgbaImage, x: u32, y: u32) -> Option<f64> {
    let (mut product, mut background) = (Mean::default(), Mean::default());
    for y in y.saturating_sub(RADIUS)..(y + RADIUS + 1).min(picture.height()) {
        for x in x.saturating_sub(RADIUS)..(x + RADIUS + 1).min(picture.width()) {
            match placed.get_pixel(x, y).0[3] {
                SOLID.. => product.add(picture.get_pixel(x, y).0),
                0 => background.add(picture.get_pixel(x, y).0),
                _ => {}
            }
        }
    }
    Some(difference(lab(product.colour()?), lab(background.colour()?)))
}

#[derive(Default)]
struct Mean {
    sums: [u32; 3],
    count: u32,
}

impl Mean {
    fn add(&mut self, colour: [u8; 3]) {
        for (sum, level) in self.sums.iter_mut().zip(colour) {
            *sum += u32::from(level);
        }
        self.count += 1;
    }

    fn colour(&self) -> Option<[u8; 3]> {
        (self.count > 0).then(|| self.sums.map(|sum| ((sum + self.count / 2) / self.count) as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composite::composite;
    use image::{Rgb, Rgba};
    use proptest::prelude::*;

    fn square(colour: [u8; 3]) -> RgbaImage {
        let [red, green, blue] = colour;
        RgbaImage::from_fn(20, 20, |x, y| {
            let inside = (5..15).contains(&x) && (5..15).contains(&y);
            Rgba([red, green, blue, if inside { 255 } else { 0 }])
        })
    }

    fn seen(colour: [u8; 3], background: [u8; 3]) -> Visibility {
        let placed = square(colour);
        let picture = composite(&RgbImage::from_pixel(20, 20, Rgb(background)), &placed).unwrap();
        visibility(&picture, &placed).unwrap()
    }

    proptest! {
        #[test]
        fn a_plain_product_has_the_difference_of_its_colours(colour in any::<[u8; 3]>(), background in any::<[u8; 3]>()) {
            let seen = seen(colour, background);
            let expected = difference(lab(colour), lab(background));
            prop_assert!((seen.contrast.unwrap() - expected).abs() < 1e-9);
            prop_assert_eq!(seen.distinct_share, Some(if expected >= DISTINCT { 1.0 } else { 0.0 }));
            prop_assert_eq!(seen.area_share, 0.25);
        }

        #[test]
        fn turning_the_picture_around_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 20 * 20 * 3)) {
            let picture = RgbImage::from_raw(20, 20, bytes).unwrap();
            let placed = square([0; 3]);
            let one = visibility(&picture, &placed).unwrap();
            let other = visibility(&image::imageops::rotate180(&picture), &image::imageops::rotate180(&placed)).unwrap();
            prop_assert!((one.contrast.unwrap() - other.contrast.unwrap()).abs() < 1e-9);
            prop_assert_eq!(one.distinct_share, other.distinct_share);
        }
    }

    #[test]
    fn a_product_that_fills_the_canvas_has_no_outline() {
        let placed = RgbaImage::from_pixel(6, 6, Rgba([1, 2, 3, 255]));
        let seen = visibility(&RgbImage::new(6, 6), &placed).unwrap();
        assert_eq!(
            (seen.area_share, seen.contrast, seen.distinct_share),
            (1.0, None, None)
        );
    }
}

//! A hash that pictures share when they look alike: 64 bits of low frequencies of the discrete cosine transform (Zauner,
//! *Implementation and Benchmarking of Perceptual Image Hash Functions*, 2010), for near-duplicates and blocklists.
//!
//! Integers all the way, cosines included, so that a stored hash is the same on every machine.

use crate::{
    error::{ImagingError, not_empty, same_size},
    luma::luma,
};
use image::{RgbImage, RgbaImage};
use std::f64::consts::PI;

/// Bits of [`background_hash`] in which two candidates of a group may differ and still be near-duplicates. Copies by JPEG differ
/// in at most 4, other painted backgrounds around the same product in 16 and more. Ask [`super::blank`] first: the hash of a
/// background of one colour is that of its rounding.
pub const MAX_DUPLICATE_DISTANCE: u32 = 4;

/// Bits of [`perceptual_hash`] in which a picture may differ from one on a blocklist and still be taken for it: copies that were scaled or
/// compressed lie mostly within 10, unrelated pictures around 32 (Zauner).
pub const MAX_BLOCKED_DISTANCE: u32 = 10;

/// Rows and columns that a picture is averaged to.
const SIDE: usize = 32;

/// Rows and columns of frequencies that are kept, without the constant ones.
const FREQUENCIES: usize = 8;

/// What stands for a cosine of 1.
const ONE: f64 = 16384.0;

/// 64 bits, each for one frequency: whether its coefficient lies above the median of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PerceptualHash(pub u64);

impl PerceptualHash {
    /// In how many bits two hashes differ, 0 to 64.
    pub fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

/// The hash of a picture. A picture of one colour has the hash 0. Making a picture lighter or darker changes nothing as long as no
/// level reaches its end.
///
/// # Errors
/// [`ImagingError::Empty`] without pixels.
pub fn perceptual_hash(picture: &RgbImage) -> Result<PerceptualHash, ImagingError> {
    not_empty("the picture", picture.dimensions())?;
    Ok(hash_of(
        &averaged(picture, |_, _| true).map(|row| row.map(|level| level.unwrap_or(0))),
    ))
}

/// The hash of what a finished picture shows outside its product (alpha 0); none when that is nothing. Parts that the product fills
/// count as the mean of the others. Candidates of one group share the product, which would outweigh what differs.
///
/// # Errors
/// [`ImagingError::SizesDiffer`] when the two differ in size.
pub fn background_hash(
    picture: &RgbImage,
    placed: &RgbaImage,
) -> Result<Option<PerceptualHash>, ImagingError> {
    same_size("the picture", picture.dimensions(), placed.dimensions())?;
    let levels = averaged(picture, |x, y| placed.get_pixel(x, y).0[3] == 0);
    let seen: Vec<i64> = levels.as_flattened().iter().copied().flatten().collect();
    if seen.is_empty() {
        return Ok(None);
    }
    let mean = seen.iter().sum::<i64>() / seen.len() as i64;
    let filled = levels.map(|row| row.map(|level| level.unwrap_or(mean)));
    Ok(Some(hash_of(&filled)))
}

fn hash_of(levels: &[[i64; SIDE]; SIDE]) -> PerceptualHash {
    let coefficients = low_frequencies(levels);
    let mut sorted = coefficients;
    sorted.sort_unstable();
    let median = sorted[sorted.len() / 2 - 1].midpoint(sorted[sorted.len() / 2]);
    let bits = coefficients.iter().enumerate();
    PerceptualHash(bits.fold(0, |hash, (i, value)| hash | (u64::from(*value > median) << i)))
}

/// Mean luma of [`SIDE`] x [`SIDE`] parts of a picture, in thousandths of a level, over the pixels that count; none where no
/// pixel does.
fn averaged(picture: &RgbImage, counts: impl Fn(u32, u32) -> bool) -> [[Option<i64>; SIDE]; SIDE] {
    let part = |i: usize, side: u32| {
        let at = |i: usize| (i as u64 * u64::from(side) / SIDE as u64) as u32;
        at(i)..at(i + 1).max(at(i) + 1)
    };
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            let (mut sum, mut count) = (0u64, 0u64);
            for y in part(row, picture.height()) {
                for x in part(column, picture.width()).filter(|x| counts(*x, y)) {
                    sum += u64::from(luma(picture.get_pixel(x, y).0));
                    count += 1;
                }
            }
            sum.checked_div(count).map(|mean| mean as i64)
        })
    })
}

/// DCT-II coefficients 1 to [`FREQUENCIES`] of rows and columns, row by row, on a scale of their own.
fn low_frequencies(levels: &[[i64; SIDE]; SIDE]) -> [i64; FREQUENCIES * FREQUENCIES] {
    let cosines: [[i64; SIDE]; FREQUENCIES] = std::array::from_fn(|u| {
        std::array::from_fn(|x| {
            let angle = PI * (u + 1) as f64 * (2 * x + 1) as f64 / (2 * SIDE) as f64;
            (angle.cos() * ONE).round() as i64
        })
    });
    let transform = |values: &dyn Fn(usize) -> i64, u: usize| -> i64 {
        cosines[u]
            .iter()
            .enumerate()
            .map(|(x, cosine)| cosine * values(x))
            .sum()
    };
    let narrowed: [[i64; FREQUENCIES]; SIDE] =
        std::array::from_fn(|y| std::array::from_fn(|u| transform(&|x| levels[y][x], u)));
    std::array::from_fn(|i| transform(&|y| narrowed[y][i % FREQUENCIES], i / FREQUENCIES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, Rgba, imageops};
    use proptest::prelude::*;

    fn any_picture() -> impl Strategy<Value = RgbImage> {
        (1u32..50, 1u32..50).prop_flat_map(|(width, height)| {
            prop::collection::vec(40u8..200, (width * height * 3) as usize)
                .prop_map(move |bytes| RgbImage::from_raw(width, height, bytes).unwrap())
        })
    }

    fn hash(picture: &RgbImage) -> PerceptualHash {
        perceptual_hash(picture).unwrap()
    }

    fn waves(seed: u32) -> RgbImage {
        RgbImage::from_fn(96, 96, |x, y| {
            let wave = |a: u32, b: u32| (f64::from(x * a + y * b) / 40.0 + f64::from(seed)).sin();
            Rgb([(128.0 + 60.0 * wave(seed % 5, seed % 7) + 50.0 * wave(seed % 3 + 1, 2)) as u8; 3])
        })
    }

    proptest! {
        #[test]
        fn light_does_not_matter(picture in any_picture(), lift in 0u8..55) {
            let lifted = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
                Rgb(picture.get_pixel(x, y).0.map(|level| level + lift))
            });
            prop_assert_eq!(hash(&picture), hash(&lifted));
        }

        #[test]
        fn the_product_does_not_matter_to_the_backgrounds_hash(picture in any_picture(), product in any::<[u8; 3]>()) {
            let [red, green, blue] = product;
            let placed = RgbaImage::from_fn(picture.width(), picture.height(), |x, y| {
                Rgba([red, green, blue, if x > 2 && y > 3 && x < 20 { 255 } else { 0 }])
            });
            let with_product = crate::composite::composite(&picture, &placed).unwrap();
            prop_assert_eq!(background_hash(&picture, &placed), background_hash(&with_product, &placed));
        }

        #[test]
        fn distance_is_a_metric(a in any::<u64>(), b in any::<u64>(), c in any::<u64>()) {
            let (a, b, c) = (PerceptualHash(a), PerceptualHash(b), PerceptualHash(c));
            prop_assert_eq!(a.distance(b), b.distance(a));
            prop_assert_eq!(a.distance(b) == 0, a == b);
            prop_assert!(a.distance(c) <= a.distance(b) + b.distance(c));
        }

        #[test]
        fn one_colour_has_no_bits(colour in any::<[u8; 3]>(), width in 1u32..70, height in 1u32..70) {
            prop_assert_eq!(hash(&RgbImage::from_pixel(width, height, Rgb(colour))), PerceptualHash(0));
        }
    }

    #[test]
    fn a_product_that_fills_the_canvas_leaves_no_background_to_hash() {
        let placed = RgbaImage::from_pixel(9, 9, Rgba([0, 0, 0, 1]));
        assert_eq!(background_hash(&RgbImage::new(9, 9), &placed), Ok(None));
    }

    #[test]
    fn a_smaller_copy_is_near_and_another_picture_is_far() {
        for seed in 1..12 {
            let picture = waves(seed);
            let copy = imageops::resize(&picture, 61, 50, imageops::FilterType::Triangle);
            assert!(
                hash(&picture).distance(hash(&copy)) <= MAX_BLOCKED_DISTANCE,
                "{seed}"
            );
            assert!(
                hash(&picture).distance(hash(&waves(seed + 1))) > MAX_BLOCKED_DISTANCE,
                "{seed}"
            );
        }
    }
}

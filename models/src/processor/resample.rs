//! Bicubic resizing to the bit of Pillow's (up to version 12; 13 resizes columns first where that is cheaper), which every
//! processor of the field calls.
//!
//! Coefficients are fixed-point numbers, rows are resized before columns, and the picture between the two passes is
//! rounded to bytes again ("Pillow", `src/libImaging/Resample.c`). Resizing in floats would differ by one byte here and
//! there, which after normalisation is a hundredth.

use std::borrow::Cow;
use std::ops::Range;

use image::{Rgb, RgbImage};

/// Fraction bits of a coefficient: a byte, 22 bits and room for the sum fit 32.
const FRACTION_BITS: u32 = 22;

/// Inputs on each side of a sample that the cubic reaches, where nothing is made smaller.
const REACH: f64 = 2.0;

/// The picture at another size; at its own size it stays as it is.
pub(crate) fn bicubic(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    bicubic_part(picture, [width, height], [0..width, 0..height])
}

/// Some columns and rows of the picture at another size; the others are never computed, however many there would be.
pub(super) fn bicubic_part(picture: &RgbImage, size: [u32; 2], part: [Range<u32>; 2]) -> RgbImage {
    let ([width, height], [columns, rows]) = (size, part);
    let wide = if picture.width() == width && columns == (0..width) {
        Cow::Borrowed(picture)
    } else {
        let windows = windows(picture.width(), width, columns);
        Cow::Owned(RgbImage::from_fn(
            windows.len() as u32,
            picture.height(),
            |x, y| {
                let window = &windows[x as usize];
                window.sum(|i| picture.get_pixel(i, y))
            },
        ))
    };
    if wide.height() == height && rows == (0..height) {
        return wide.into_owned();
    }
    let windows = windows(wide.height(), height, rows);
    RgbImage::from_fn(wide.width(), windows.len() as u32, |x, y| {
        let window = &windows[y as usize];
        window.sum(|i| wide.get_pixel(x, i))
    })
}

/// The inputs of one output and their coefficients, which add up to about one.
struct Window {
    first: u32,
    coefficients: Vec<i32>,
}

impl Window {
    fn sum<'a>(&self, pixel: impl Fn(u32) -> &'a Rgb<u8>) -> Rgb<u8> {
        let mut sums = [1 << (FRACTION_BITS - 1); 3];
        for (i, &coefficient) in (self.first..).zip(&self.coefficients) {
            for (sum, &value) in sums.iter_mut().zip(&pixel(i).0) {
                *sum += i32::from(value) * coefficient;
            }
        }
        Rgb(sums.map(|sum| (sum >> FRACTION_BITS).clamp(0, 255) as u8))
    }
}

/// The windows of some output pixels along one side.
fn windows(from: u32, to: u32, outputs: Range<u32>) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    // Made smaller, the cubic is stretched over all inputs that fall into an output.
    let stretch = scale.max(1.0);
    let reach = REACH * stretch;
    let window = |output: u32| {
        let centre = (f64::from(output) + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as u32;
        let end = ((centre + reach + 0.5) as u32).min(from);
        let weights: Vec<f64> = (first..end)
            .map(|input| cubic((f64::from(input) - centre + 0.5) / stretch))
            .collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: f64| (weight / total * f64::from(1 << FRACTION_BITS)).round() as i32;
        Window {
            first,
            coefficients: weights.into_iter().map(fixed).collect(),
        }
    };
    outputs.map(window).collect()
}

/// Keys' cubic with a = -1/2 ("Cubic convolution interpolation for digital image processing", 1981, eq. 4).
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_stays_that_colour_at_every_size() {
        let colour = Rgb([3, 128, 254]);
        for (width, height) in [(1, 1), (5, 9), (40, 2), (7, 7)] {
            let resized = bicubic(&RgbImage::from_pixel(7, 5, colour), width, height);
            assert_eq!(resized.dimensions(), (width, height));
            assert!(resized.pixels().all(|pixel| *pixel == colour));
        }
    }

    #[test]
    fn a_part_is_cut_out_of_the_whole() {
        let picture = RgbImage::from_fn(9, 4, |x, y| Rgb([(x * 28) as u8, (y * 60) as u8, (x * y) as u8]));
        for size in [[20, 11], [9, 3], [4, 4]] {
            let whole = bicubic(&picture, size[0], size[1]);
            let part = bicubic_part(&picture, size, [1..3, 0..2]);
            assert_eq!(part, image::imageops::crop_imm(&whole, 1, 0, 2, 2).to_image());
        }
    }

    /// `Image.fromarray(picture).resize(size, Image.BICUBIC)` of Pillow 12.0.0.
    #[test]
    fn every_byte_is_pillows() {
        let picture = RgbImage::from_fn(23, 17, |x, y| {
            let stripe = if (x + y) % 2 == 0 { 255 } else { 0 };
            Rgb([(x * x * 7 + y * 13) as u8, (x * 31 + y * y * 5) as u8, stripe])
        });
        let expected: [((u32, u32), Vec<u8>); 3] = [
            (
                (5, 4),
                vec![
                    67, 94, 128, 138, 145, 127, 143, 120, 128, 97, 130, 127, 106, 128, 128, 116, 140, 127,
                    127, 123, 128, 127, 128, 127, 95, 117, 128, 64, 125, 127, 157, 131, 127, 133, 130, 128,
                    132, 123, 127, 133, 126, 128, 129, 122, 127, 162, 121, 128, 114, 123, 127, 123, 128, 128,
                    152, 133, 127, 177, 129, 128,
                ],
            ),
            (
                (30, 1),
                vec![
                    104, 117, 133, 107, 114, 125, 119, 113, 126, 135, 117, 132, 144, 127, 123, 150, 138, 131,
                    138, 144, 128, 119, 141, 124, 111, 127, 133, 136, 124, 124, 120, 138, 128, 117, 134, 130,
                    148, 104, 123, 122, 105, 132, 138, 114, 126, 135, 125, 126, 111, 136, 132, 124, 147, 123,
                    140, 138, 130, 147, 132, 128, 136, 133, 124, 105, 135, 133, 102, 103, 124, 103, 104, 128,
                    104, 115, 131, 108, 113, 123, 110, 122, 132, 113, 134, 126, 132, 142, 125, 155, 143, 133,
                ],
            ),
            (
                (3, 20),
                vec![
                    97, 109, 133, 140, 137, 126, 140, 119, 133, 83, 113, 123, 142, 142, 129, 157, 124, 123,
                    90, 115, 130, 126, 129, 127, 124, 116, 130, 103, 116, 128, 122, 125, 127, 67, 126, 128,
                    115, 122, 125, 135, 125, 128, 39, 144, 125, 123, 134, 132, 143, 114, 126, 56, 139, 132,
                    121, 146, 122, 133, 129, 129, 69, 125, 122, 131, 133, 133, 116, 122, 126, 81, 108, 133,
                    115, 122, 124, 121, 123, 128, 94, 105, 124, 119, 132, 129, 113, 130, 127, 99, 128, 129,
                    133, 141, 129, 111, 128, 127, 106, 130, 129, 144, 131, 124, 124, 121, 128, 118, 108, 124,
                    155, 121, 133, 135, 124, 126, 129, 109, 133, 166, 144, 122, 146, 128, 129, 140, 131, 122,
                    146, 125, 132, 157, 120, 126, 152, 136, 132, 137, 123, 125, 140, 130, 128, 154, 152, 125,
                    145, 126, 128, 117, 127, 127, 160, 126, 128, 143, 124, 130, 114, 124, 127, 173, 114, 130,
                    126, 117, 123, 122, 132, 129, 179, 137, 123, 131, 109, 133, 111, 137, 126, 172, 118, 133,
                ],
            ),
        ];
        for ((width, height), bytes) in expected {
            assert_eq!(
                bicubic(&picture, width, height).into_raw(),
                bytes,
                "{width} x {height}"
            );
        }
    }
}

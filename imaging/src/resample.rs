//! Resizing of cut-outs: area averages when shrinking, linear interpolation when enlarging, as OpenCV's `INTER_AREA`,
//! but with colours weighted by their alpha.

use crate::region::Region;
use image::{Rgba, RgbaImage};

/// Resizes the part `source` of `image` to `width` x `height` pixels.
pub(crate) fn resize(image: &RgbaImage, source: Region, width: u32, height: u32) -> RgbaImage {
    let columns = taps(source.width, width);
    let rows = taps(source.height, height);
    let narrowed = narrow(image, source, &columns);
    let mut resized = RgbaImage::new(width, height);
    let mut sums = vec![[0.0; 4]; columns.len()];
    for (y, row) in rows.iter().enumerate() {
        sums.fill([0.0; 4]);
        for (offset, weight) in row.weights.iter().enumerate() {
            let line = (row.first + offset) * columns.len();
            for (sum, pixel) in sums.iter_mut().zip(&narrowed[line..]) {
                accumulate(sum, pixel, *weight);
            }
        }
        for (x, sum) in sums.iter().enumerate() {
            resized.put_pixel(x as u32, y as u32, unpremultiplied(sum));
        }
    }
    resized
}

/// Resizes horizontally only: premultiplied pixels, row by row.
fn narrow(image: &RgbaImage, source: Region, columns: &[Taps]) -> Vec<[f32; 4]> {
    let mut pixels = Vec::with_capacity(columns.len() * source.height as usize);
    let mut line = Vec::with_capacity(source.width as usize);
    let stride = image.width() as usize * 4;
    for y in source.top..source.top + source.height {
        let start = y as usize * stride + source.left as usize * 4;
        let bytes = &image.as_raw()[start..start + source.width as usize * 4];
        line.clear();
        line.extend(bytes.chunks_exact(4).map(premultiplied));
        for column in columns {
            let mut sum = [0.0; 4];
            for (pixel, weight) in line[column.first..].iter().zip(&column.weights) {
                accumulate(&mut sum, pixel, *weight);
            }
            pixels.push(sum);
        }
    }
    pixels
}

/// The source positions that one target position is a weighted mean of; the weights sum to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn taps(source: u32, target: u32) -> Vec<Taps> {
    let scale = f64::from(source) / f64::from(target);
    (0..target)
        .map(|i| {
            if scale >= 1.0 {
                area(i, scale, source)
            } else {
                linear(i, scale, source)
            }
        })
        .collect()
}

fn area(target: u32, scale: f64, source: u32) -> Taps {
    let (from, to) = (f64::from(target) * scale, f64::from(target + 1) * scale);
    let first = from as u32;
    let last = (to.ceil() as u32).min(source).max(first + 1);
    let covered = |i: u32| (to.min(f64::from(i + 1)) - from.max(f64::from(i))).max(0.0);
    let weights = (first..last).map(|i| (covered(i) / scale) as f32).collect();
    Taps {
        first: first as usize,
        weights,
    }
}

fn linear(target: u32, scale: f64, source: u32) -> Taps {
    let centre = ((f64::from(target) + 0.5) * scale - 0.5).clamp(0.0, f64::from(source - 1));
    let first = (centre as u32).min(source.saturating_sub(2));
    let share = (centre - f64::from(first)) as f32;
    let weights = if source == 1 {
        vec![1.0]
    } else {
        vec![1.0 - share, share]
    };
    Taps {
        first: first as usize,
        weights,
    }
}

fn accumulate(sum: &mut [f32; 4], pixel: &[f32; 4], weight: f32) {
    for (sum, value) in sum.iter_mut().zip(pixel) {
        *sum += value * weight;
    }
}

fn premultiplied(pixel: &[u8]) -> [f32; 4] {
    let alpha = f32::from(pixel[3]) / 255.0;
    [
        f32::from(pixel[0]) * alpha,
        f32::from(pixel[1]) * alpha,
        f32::from(pixel[2]) * alpha,
        alpha,
    ]
}

fn unpremultiplied(sum: &[f32; 4]) -> Rgba<u8> {
    let alpha = sum[3];
    let byte = |value: f32| (value + 0.5) as u8;
    if alpha <= 0.0 {
        return Rgba([0; 4]);
    }
    Rgba([
        byte(sum[0] / alpha),
        byte(sum[1] / alpha),
        byte(sum[2] / alpha),
        byte(alpha * 255.0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn weights_of_every_target_position_sum_to_one(source in 1u32..300, target in 1u32..300) {
            for taps in taps(source, target) {
                prop_assert!((taps.weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                prop_assert!(taps.first + taps.weights.len() <= source as usize);
            }
        }
    }

    #[test]
    fn equal_sizes_change_nothing() {
        let image = RgbaImage::from_fn(7, 5, |x, y| Rgba([x as u8 * 30, y as u8 * 40, 90, 255]));
        let whole = Region {
            left: 0,
            top: 0,
            width: 7,
            height: 5,
        };
        assert_eq!(resize(&image, whole, 7, 5), image);
    }

    #[test]
    fn halving_averages_four_pixels() {
        let image = RgbaImage::from_fn(2, 2, |x, y| Rgba([(x + 2 * y) as u8 * 10, 0, 0, 255]));
        let whole = Region {
            left: 0,
            top: 0,
            width: 2,
            height: 2,
        };
        assert_eq!(resize(&image, whole, 1, 1).get_pixel(0, 0).0, [15, 0, 0, 255]);
    }
}

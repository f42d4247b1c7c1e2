//! `INTER_AREA` when no side grows: each target pixel is the mean of the source pixels that it covers.

use super::Axis;
use image::{Rgba, RgbaImage};

/// The mean of blocks of `across` x `down` pixels.
pub(super) fn by_whole_factors(picture: &RgbaImage, across: u32, down: u32) -> RgbaImage {
    let share = 1.0 / (across * down) as f32;
    RgbaImage::from_fn(picture.width() / across, picture.height() / down, |x, y| {
        let mut sums = [0u32; 4];
        for row in y * down..(y + 1) * down {
            for column in x * across..(x + 1) * across {
                for (sum, value) in sums.iter_mut().zip(picture.get_pixel(column, row).0) {
                    *sum += u32::from(value);
                }
            }
        }
        // OpenCV halves with a kernel of its own, in integers, which rounds half up; all others round half to even.
        let halves = (across, down) == (2, 2);
        Rgba(sums.map(|sum| {
            if halves {
                ((sum + 2) >> 2) as u8
            } else {
                (sum as f32 * share).round_ties_even() as u8
            }
        }))
    })
}

/// Means weighted by the covered share of each source pixel, rows after columns, in `f32` and in the order of the source.
pub(super) fn by_areas(picture: &RgbaImage, columns: &Axis, rows: &Axis) -> RgbaImage {
    let across = covered(columns);
    let down = covered(rows);
    let stride = picture.width() as usize * 4;
    let mut resized = RgbaImage::new(columns.target, rows.target);
    for (y, row) in down.iter().enumerate() {
        let mut sums = vec![[0f32; 4]; across.len()];
        for (source, weight) in row {
            let line = &picture.as_raw()[source * stride..(source + 1) * stride];
            for (sum, column) in sums.iter_mut().zip(&across) {
                let narrowed = mean(line, column);
                for (sum, value) in sum.iter_mut().zip(narrowed) {
                    *sum += weight * value;
                }
            }
        }
        for (x, sum) in sums.iter().enumerate() {
            let pixel = Rgba(sum.map(|sum| sum.round_ties_even() as u8));
            resized.put_pixel(x as u32, y as u32, pixel);
        }
    }
    resized
}

fn mean(line: &[u8], column: &[(usize, f32)]) -> [f32; 4] {
    let mut sum = [0f32; 4];
    for (source, weight) in column {
        for (sum, value) in sum.iter_mut().zip(&line[source * 4..source * 4 + 4]) {
            *sum += f32::from(*value) * weight;
        }
    }
    sum
}

/// For each target position the source positions that it covers with their weights. A share below a thousandth of a
/// pixel is left out, as OpenCV does.
fn covered(axis: &Axis) -> Vec<Vec<(usize, f32)>> {
    const LEAST: f64 = 1e-3;
    let end = f64::from(axis.source);
    (0..axis.target)
        .map(|i| {
            let from = f64::from(i) * axis.scale;
            let to = from + axis.scale;
            let length = axis.scale.min(end - from);
            let last = to.floor().min(end - 1.0);
            let first = from.ceil().min(last);
            let mut weights = Vec::new();
            if first - from > LEAST {
                weights.push((first as usize - 1, ((first - from) / length) as f32));
            }
            weights.extend((first as usize..last as usize).map(|source| (source, (1.0 / length) as f32)));
            if to - last > LEAST {
                let share = (to - last).min(1.0).min(length);
                weights.push((last as usize, (share / length) as f32));
            }
            weights
        })
        .collect()
}

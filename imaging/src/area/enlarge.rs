//! `INTER_AREA` when a side grows: a target pixel within one source pixel is that pixel, one across a border is between the two,
//! with weights of 11 bits.

use super::Axis;
use image::{Rgba, RgbaImage};

/// The weight 1.
const ONE: f32 = 2048.0;

/// The two source positions of a target position, and their weights of together [`ONE`].
struct Pair {
    positions: [usize; 2],
    weights: [i32; 2],
}

pub(super) fn resize(picture: &RgbaImage, columns: &Axis, rows: &Axis) -> RgbaImage {
    let across = pairs(columns);
    let down = pairs(rows);
    let stride = picture.width() as usize * 4;
    RgbaImage::from_fn(columns.target, rows.target, |x, y| {
        let (column, row) = (&across[x as usize], &down[y as usize]);
        let widened = row.positions.map(|row| {
            let line = &picture.as_raw()[row * stride..(row + 1) * stride];
            widened(line, column)
        });
        Rgba(std::array::from_fn(|channel| {
            // Four bits are dropped before the second product and sixteen after it, so that 16-bit lanes hold it.
            let part = |i: usize| (row.weights[i] * (widened[i][channel] >> 4)) >> 16;
            ((part(0) + part(1) + 2) >> 2).clamp(0, 255) as u8
        }))
    })
}

fn widened(line: &[u8], column: &Pair) -> [i32; 4] {
    std::array::from_fn(|channel| {
        let part = |i: usize| i32::from(line[column.positions[i] * 4 + channel]) * column.weights[i];
        part(0) + part(1)
    })
}

fn pairs(axis: &Axis) -> Vec<Pair> {
    let last = axis.source as usize - 1;
    (0..axis.target)
        .map(|i| {
            let first = (f64::from(i) * axis.scale).floor();
            let beyond = (f64::from(i + 1) - (first + 1.0) * axis.inverse) as f32;
            let share = if beyond <= 0.0 {
                0.0
            } else {
                beyond - beyond.floor()
            };
            let first = first as usize;
            let (first, share) = if first >= last {
                (last, 0.0)
            } else {
                (first, share)
            };
            Pair {
                positions: [first, (first + 1).min(last)],
                weights: [1.0 - share, share].map(|weight: f32| (weight * ONE).round_ties_even() as i32),
            }
        })
        .collect()
}

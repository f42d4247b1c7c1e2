//! Pictures of any shape as tiles ("LLaVA-NeXT", `anyres`): the shape that wastes least is chosen from a list, the
//! picture is resized into it, centred on black and cut; what the padding covers is left out again among the features.

use std::ops::Range;

use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::resample;
use crate::error::ModelError;
use crate::limits;

/// Shapes and tiles beyond which a configuration is a mistake.
const MOST_SHAPES: usize = 64;
const MOST_TILES: usize = 64;

/// The shapes that pictures are cut in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnyRes {
    /// `[height, width]` of each shape in pixels, multiples of the tower's side; `image_grid_pinpoints`.
    pub shapes: Vec<[usize; 2]>,
    /// How the padding among the features is counted.
    pub unpad: Unpad,
}

/// How many rows or columns of features show padding. The two differ at odd shapes, so a checkpoint is read as by the
/// code that it was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpad {
    /// The unpadded side is rounded at the seventh decimal before it is cut (transformers, `unpad_image`).
    Transformers,
    /// The unpadded side is cut (the LLaVA repository, `unpad_image`).
    Original,
}

/// How the tiles of one picture lie, and what of them it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Tiles above each other.
    pub rows: usize,
    /// Tiles beside each other.
    pub columns: usize,
    /// Size of the picture in pixels.
    width: u32,
    height: u32,
    unpad: Unpad,
}

impl AnyRes {
    /// Refuses shapes that tiles do not fill.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, its value and what would be right.
    pub(super) fn check(&self, side: usize) -> Result<(), ModelError> {
        let fits = |[height, width]: &[usize; 2]| {
            let (rows, columns) = (height / side, width / side);
            let whole = height.is_multiple_of(side) && width.is_multiple_of(side);
            whole && rows > 0 && columns > 0 && rows.saturating_mul(columns) <= MOST_TILES
        };
        let holds = (1..=MOST_SHAPES).contains(&self.shapes.len()) && self.shapes.iter().all(fits);
        limits::check([(
            holds,
            "image_grid_pinpoints",
            format!("{:?}", self.shapes),
            "one to 64 pairs of multiples of the tower's image_size, with at most 64 tiles each",
        )])
    }

    /// The grid of a picture: the shape that keeps most of its pixels and, among those, has the fewest others.
    pub(super) fn grid(&self, width: u32, height: u32, side: u32) -> Grid {
        let mut best = ([side as usize; 2], 0u64, u64::MAX);
        for &shape in &self.shapes {
            let [tall, wide] = shape.map(|pixels| pixels as f64);
            let scale = (wide / f64::from(width)).min(tall / f64::from(height));
            let scaled = |pixels: u32| (f64::from(pixels) * scale) as u64;
            let kept = (scaled(width) * scaled(height)).min(u64::from(width) * u64::from(height));
            let wasted = (shape[0] * shape[1]) as u64 - kept;
            if kept > best.1 || (kept == best.1 && wasted < best.2) {
                best = (shape, kept, wasted);
            }
        }
        Grid {
            rows: best.0[0] / side as usize,
            columns: best.0[1] / side as usize,
            width,
            height,
            unpad: self.unpad,
        }
    }
}

impl Grid {
    /// Rows and columns of features that show the picture, where a tile has `patches` on a side.
    pub fn kept(&self, patches: usize) -> (Range<usize>, Range<usize>) {
        let (tall, wide) = (self.rows * patches, self.columns * patches);
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let whole = |side: f64| match self.unpad {
            Unpad::Transformers => (side * 1e7).round_ties_even() / 1e7,
            Unpad::Original => side,
        };
        let cut = |side: usize, filled: f64| {
            let padding = side.saturating_sub(whole(filled) as usize) / 2;
            padding..side - padding
        };
        if width / height > wide as f64 / tall as f64 {
            (cut(tall, height * (wide as f64 / width)), 0..wide)
        } else {
            (0..tall, cut(wide, width * (tall as f64 / height)))
        }
    }

    /// Tokens of the picture, the first tile's and the newlines included, where a tile has `patches` on a side.
    pub fn tokens(&self, patches: usize) -> usize {
        let (rows, columns) = self.kept(patches);
        patches * patches + rows.len() * (columns.len() + 1)
    }
}

/// The picture stretched into one tile, then the tiles of the grid, row after row.
pub(super) fn tiles(picture: &RgbImage, grid: &Grid, side: u32) -> Vec<RgbImage> {
    let whole = resample::bicubic(picture, side, side);
    let (wide, tall) = (grid.columns as u32 * side, grid.rows as u32 * side);
    let (width, height) = picture.dimensions();
    let (across, down) = (
        f64::from(wide) / f64::from(width),
        f64::from(tall) / f64::from(height),
    );
    let scaled = |pixels: u32, scale: f64, most: u32| ((f64::from(pixels) * scale).ceil() as u32).min(most);
    let (width, height) = if across < down {
        (wide, scaled(height, across, tall))
    } else {
        (scaled(width, down, wide), tall)
    };
    let mut canvas = RgbImage::new(wide, tall);
    let resized = resample::bicubic(picture, width, height);
    let (left, top) = ((wide - width) / 2, (tall - height) / 2);
    imageops::replace(&mut canvas, &resized, left.into(), top.into());
    let places =
        (0..grid.rows as u32).flat_map(|row| (0..grid.columns as u32).map(move |column| (row, column)));
    let cut = places
        .map(|(row, column)| imageops::crop_imm(&canvas, column * side, row * side, side, side).to_image());
    std::iter::once(whole).chain(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LLaVA-v1.6-Vicuna-7B's.
    fn any_res(unpad: Unpad) -> AnyRes {
        let shapes = vec![[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];
        AnyRes { shapes, unpad }
    }

    fn tokens(width: u32, height: u32) -> usize {
        any_res(Unpad::Original).grid(width, height, 336).tokens(24)
    }

    #[test]
    fn token_counts_are_the_published_ones() {
        assert_eq!(tokens(1024, 512), 1752);
        assert_eq!(tokens(800, 800), 576 + 48 * 49);
    }

    /// 188 x 47 fills 14 of 28 pixels of height, which is 2 rows of patches, or one less by a hair.
    #[test]
    fn two_ways_of_rounding_are_two_numbers_of_tokens() {
        let count = |unpad| {
            let shapes = vec![[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]];
            AnyRes { shapes, unpad }.grid(188, 47, 28).tokens(4)
        };
        assert_eq!((count(Unpad::Transformers), count(Unpad::Original)), (68, 42));
    }

    /// A sliver keeps the whole picture's tile and nothing else, in both references too.
    #[test]
    fn a_picture_of_any_shape_has_its_first_tile() {
        for unpad in [Unpad::Original, Unpad::Transformers] {
            for (width, height) in [
                (1, 1),
                (1, 5000),
                (5000, 1),
                (7, 1),
                (1, 7),
                (333, 1000),
                (u32::MAX, 1),
            ] {
                let tokens = any_res(unpad).grid(width, height, 336).tokens(24);
                assert!(
                    (576..=576 + 72 * 25).contains(&tokens),
                    "{width} x {height}: {tokens}"
                );
            }
        }
    }

    #[test]
    fn shapes_that_tiles_do_not_fill_are_refused() {
        let refused = |shapes: Vec<[usize; 2]>| {
            let unpad = Unpad::Original;
            AnyRes { shapes, unpad }.check(336).is_err()
        };
        assert!(!refused(vec![[336, 672]]));
        assert!(refused(vec![]));
        assert!(refused(vec![[336, 673]]));
        assert!(refused(vec![[336, 0]]));
        assert!(refused(vec![[336 * 100, 336]]));
        assert!(refused(vec![[usize::MAX / 336 * 336, 672]]));
    }

    #[test]
    fn tiles_are_the_picture_row_after_row_on_black() {
        // Red above green, in one third of the width.
        let picture = RgbImage::from_fn(2, 6, |_, y| {
            image::Rgb(if y < 3 { [255, 0, 0] } else { [0, 255, 0] })
        });
        let any_res = AnyRes {
            shapes: vec![[8, 4]],
            unpad: Unpad::Original,
        };
        let grid = any_res.grid(2, 6, 4);
        let tiles = tiles(&picture, &grid, 4);
        assert_eq!(tiles.len(), 3);
        // 8 pixels tall, ceil(2 * 8 / 6) = 3 wide: nothing is left of it, one column of black to the right.
        assert_eq!(tiles[1].get_pixel(0, 0).0, [255, 0, 0]);
        assert_eq!(tiles[2].get_pixel(2, 3).0, [0, 255, 0]);
        assert_eq!(tiles[1].get_pixel(3, 0).0, [0, 0, 0]);
    }
}

//! The colours around each place of a picture: least and most of a channel among the pixels whose alpha
//! counts.
//!
//! What is measured on a soft edge ([`crate::guardrails::halo`]) and what is done about it
//! ([`crate::soft_edge`]) look through one window.

use crate::dilate::maximum;
use image::{GrayImage, Luma, RgbImage, RgbaImage};

/// How far around a soft pixel its colours are looked for, in pixels. Soft edges of scaled cut-outs are one
/// to three pixels wide; a larger window would let colours from elsewhere excuse a rim.
pub(crate) const RADIUS: usize = 4;

/// The pixels whose colours count, and where any of them is near.
pub(crate) struct Around {
    counts: GrayImage,
    near: GrayImage,
}

impl Around {
    pub(crate) fn of(placed: &RgbaImage, counts: impl Fn(u8) -> bool) -> Self {
        let counts = GrayImage::from_fn(placed.width(), placed.height(), |x, y| {
            Luma([if counts(placed.get_pixel(x, y).0[3]) {
                255
            } else {
                0
            }])
        });
        let near = maximum(&counts, RADIUS, RADIUS);
        Self { counts, near }
    }

    pub(crate) fn has_any(&self, x: u32, y: u32) -> bool {
        self.near.get_pixel(x, y).0[0] > 0
    }

    /// Least and most of a channel among the pixels that count, around each place; least is above most where
    /// there are none.
    pub(crate) fn range(&self, picture: &RgbImage, channel: usize) -> Range {
        let largest = |level: fn(u8) -> u8| {
            let levels = GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
                let counts = self.counts.get_pixel(x, y).0[0];
                Luma([level(picture.get_pixel(x, y).0[channel]) & counts])
            });
            maximum(&levels, RADIUS, RADIUS)
        };
        Range {
            most: largest(|level| level),
            turned_least: largest(|level| 255 - level),
        }
    }
}

/// What [`Around::range`] found.
pub(crate) struct Range {
    most: GrayImage,
    /// 255 - the least.
    turned_least: GrayImage,
}

impl Range {
    pub(crate) fn most(&self, x: u32, y: u32) -> u8 {
        self.most.get_pixel(x, y).0[0]
    }

    pub(crate) fn least(&self, x: u32, y: u32) -> u8 {
        255 - self.turned_least.get_pixel(x, y).0[0]
    }
}

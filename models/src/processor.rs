//! Pictures to the numbers a vision tower reads.
//!
//! Transparent pixels are composited on the mean colour; the reference implementation shows whatever colour lies under
//! them ([`Transparency`]). How a picture that is not square comes into a square tower is [`Fit`]'s affair; the tiles of
//! [`Fit::AnyRes`] are cut in `processor/any_res.rs`, resizing is in `processor/resample.rs`.

mod any_res;
mod resample;

pub use any_res::{AnyRes, Grid, Unpad};
pub(crate) use resample::bicubic;

use image::imageops;
use image::{Rgb, RgbImage, RgbaImage};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::limits;

/// Size, fit and normalisation of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageProcessor {
    /// Side of the square input in pixels.
    pub size: usize,
    /// Mean of each colour, of values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each colour, of values in [0, 1].
    pub std: [f32; 3],
    /// How a picture that is not square comes into the square. Default [`Fit::Pad`].
    #[serde(default)]
    pub fit: Fit,
    /// What is seen where a picture is transparent. Default [`Transparency::MeanColour`].
    #[serde(default)]
    pub transparency: Transparency,
}

/// What is seen where a picture is transparent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transparency {
    /// The mean colour, which a network sees as nothing.
    #[default]
    MeanColour,
    /// Whatever colour lies under it, as in the reference implementation.
    Dropped,
}

/// How a picture comes into the tower's square.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Centred on a square of its longer side and of the mean colour: `image_aspect_ratio = "pad"` of LLaVA.
    #[default]
    Pad,
    /// The shorter side is resized to the square's, what the longer one has beyond is cut off at both ends: CLIP's own
    /// processor, which llava-hf 1.5 uses.
    CentreCrop,
    /// The whole picture stretched into one tile, then the picture again in several: LLaVA 1.6.
    AnyRes(AnyRes),
}

/// A picture as a tower reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiles {
    /// `[tiles, channel, row, column]`, flat.
    pub values: Vec<f32>,
    /// How the tiles behind the first lie; `None` for a single tile.
    pub grid: Option<Grid>,
}

impl ImageProcessor {
    /// CLIP's normalisation (`preprocessor_config.json` of openai/clip-vit-large-patch14-336), pictures padded.
    pub fn clip(size: usize) -> Self {
        Self {
            size,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            fit: Fit::Pad,
            transparency: Transparency::MeanColour,
        }
    }

    /// Refuses what would give a network something else than finite numbers of its own size.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, its value and what would be right.
    pub fn check(&self, image_size: usize) -> Result<(), ModelError> {
        let colours = |values: [f32; 3]| format!("{values:?}");
        let rules = [
            (
                self.size == image_size,
                "processor.size",
                self.size.to_string(),
                "the network's image_size",
            ),
            (
                self.mean.iter().all(|mean| (0.0..=1.0).contains(mean)),
                "processor.mean",
                colours(self.mean),
                "three numbers from 0 to 1",
            ),
            (
                self.std.iter().all(|std| std.is_normal() && *std > 0.0),
                "processor.std",
                colours(self.std),
                "three numbers above 0",
            ),
        ];
        limits::check(rules)?;
        match &self.fit {
            Fit::AnyRes(any_res) => any_res.check(self.size),
            Fit::Pad | Fit::CentreCrop => Ok(()),
        }
    }

    /// Composites, fits, resizes (Pillow's bicubic) and normalises.
    pub fn process(&self, picture: &RgbaImage) -> Tiles {
        let (side, opaque) = (self.size as u32, self.composite(picture));
        let grid = self.grid(picture.width(), picture.height());
        let tiles = match (&self.fit, &grid) {
            (Fit::AnyRes(_), Some(grid)) => any_res::tiles(&opaque, grid, side),
            (Fit::CentreCrop, _) => vec![centre_crop(&opaque, side)],
            _ => vec![resample::bicubic(&self.padded(opaque), side, side)],
        };
        Tiles {
            values: tiles.iter().flat_map(|tile| self.normalised(tile)).collect(),
            grid,
        }
    }

    /// How the tiles of a picture of this size lie; `None` where a picture is one tile.
    pub fn grid(&self, width: u32, height: u32) -> Option<Grid> {
        match &self.fit {
            Fit::AnyRes(any_res) => Some(any_res.grid(width.max(1), height.max(1), self.size as u32)),
            Fit::Pad | Fit::CentreCrop => None,
        }
    }

    fn normalised<'a>(&self, tile: &'a RgbImage) -> impl Iterator<Item = f32> + use<'a> {
        let (mean, std) = (self.mean, self.std);
        let channel = move |channel: usize| {
            tile.pixels()
                .map(move |pixel| (f32::from(pixel[channel]) / 255.0 - mean[channel]) / std[channel])
        };
        (0..3).flat_map(channel)
    }

    /// The colour of the mean, cut to whole numbers as LLaVA does.
    fn mean_colour(&self) -> Rgb<u8> {
        Rgb(self.mean.map(|value| (value * 255.0) as u8))
    }

    /// The picture without transparency. One without pixels is one pixel of the mean colour.
    pub fn composite(&self, picture: &RgbaImage) -> RgbImage {
        let background = self.mean_colour();
        RgbImage::from_fn(picture.width().max(1), picture.height().max(1), |x, y| {
            let Some(pixel) = picture.get_pixel_checked(x, y) else {
                return background;
            };
            let alpha = match self.transparency {
                Transparency::MeanColour => u32::from(pixel[3]),
                Transparency::Dropped => 255,
            };
            let blend = |channel: usize| {
                let sum = u32::from(pixel[channel]) * alpha + u32::from(background[channel]) * (255 - alpha);
                ((sum + 127) / 255) as u8
            };
            Rgb([blend(0), blend(1), blend(2)])
        })
    }

    /// The picture centred on a square of its longer side.
    fn padded(&self, picture: RgbImage) -> RgbImage {
        let (width, height) = picture.dimensions();
        if width == height {
            return picture;
        }
        let side = width.max(height);
        let mut square = RgbImage::from_pixel(side, side, self.mean_colour());
        let (left, top) = ((side - width) / 2, (side - height) / 2);
        imageops::replace(&mut square, &picture, left.into(), top.into());
        square
    }
}

/// The middle of the picture with its shorter side at `side`.
fn centre_crop(picture: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let (short, long) = (width.min(height), width.max(height));
    let long = (u64::from(side) * u64::from(long) / u64::from(short)).min(u32::MAX.into()) as u32;
    let (width, height) = if width <= height {
        (side, long)
    } else {
        (long, side)
    };
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    resample::bicubic_part(picture, [width, height], [left..left + side, top..top + side])
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    fn values(processor: &ImageProcessor, picture: &RgbaImage) -> Vec<f32> {
        processor.process(picture).values
    }

    fn plain(size: usize, fit: Fit) -> ImageProcessor {
        ImageProcessor {
            size,
            mean: [0.0; 3],
            std: [1.0; 3],
            fit,
            transparency: Transparency::MeanColour,
        }
    }

    #[test]
    fn what_lies_under_transparency_is_not_seen() {
        let processor = ImageProcessor::clip(8);
        let red = values(&processor, &RgbaImage::from_pixel(8, 8, Rgba([255, 0, 0, 0])));
        let blue = values(&processor, &RgbaImage::from_pixel(8, 8, Rgba([0, 0, 255, 0])));
        assert_eq!(red, blue);
        // The mean colour, to the part of a byte that is cut off.
        assert!(red.iter().all(|value| value.abs() < 0.02));
    }

    #[test]
    fn dropped_transparency_shows_what_lies_under_it() {
        let processor = ImageProcessor {
            transparency: Transparency::Dropped,
            ..ImageProcessor::clip(8)
        };
        let seen = |alpha| values(&processor, &RgbaImage::from_pixel(8, 8, Rgba([255, 0, 0, alpha])));
        assert_eq!(seen(0), seen(255));
    }

    #[test]
    fn channels_come_one_after_the_other_and_are_normalised() {
        let processor = ImageProcessor {
            mean: [0.5; 3],
            std: [0.5; 3],
            ..plain(2, Fit::Pad)
        };
        let pixels = values(&processor, &RgbaImage::from_pixel(2, 2, Rgba([255, 0, 255, 255])));
        assert_eq!(pixels, [[1.0; 4], [-1.0; 4], [1.0; 4]].concat());
    }

    #[test]
    fn a_wide_picture_is_padded_not_stretched() {
        let white = RgbaImage::from_pixel(4, 2, Rgba([255, 255, 255, 255]));
        let pixels = values(&plain(4, Fit::Pad), &white);
        assert_eq!(pixels[..4], [0.0; 4]);
        assert_eq!(pixels[4..12], [1.0; 8]);
        assert_eq!(pixels[12..16], [0.0; 4]);
    }

    #[test]
    fn a_cropped_picture_shows_its_middle() {
        // Black, white, black: the white third alone is left.
        let stripe = |x: u32| if (6..12).contains(&x) { 255 } else { 0 };
        let wide = RgbaImage::from_fn(18, 6, |x, _| Rgba([stripe(x), stripe(x), stripe(x), 255]));
        let pixels = values(&plain(6, Fit::CentreCrop), &wide);
        assert!(pixels.iter().all(|value| *value == 1.0));
    }

    #[test]
    fn any_size_becomes_the_towers() {
        for fit in [Fit::Pad, Fit::CentreCrop] {
            let processor = ImageProcessor {
                fit,
                ..ImageProcessor::clip(16)
            };
            for (width, height) in [(0, 0), (1, 1), (100, 7), (16, 16), (3, 50)] {
                let tiles = processor.process(&RgbaImage::new(width, height));
                assert_eq!((tiles.values.len(), tiles.grid), (3 * 16 * 16, None));
            }
        }
    }
}

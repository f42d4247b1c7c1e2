//! Pictures to the numbers a vision tower reads.
//!
//! Transparent pixels are composited on the mean colour, where the reference implementation shows whatever colour lies
//! under them. Pictures that are not square are padded with that colour, as LLaVA's `image_aspect_ratio = pad` does.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage, RgbaImage};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::limits;

/// Size and normalisation of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageProcessor {
    /// Side of the square input in pixels.
    pub size: usize,
    /// Mean of each colour, of values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each colour, of values in [0, 1].
    pub std: [f32; 3],
}

impl ImageProcessor {
    /// CLIP's normalisation (`preprocessor_config.json` of openai/clip-vit-large-patch14-336).
    pub fn clip(size: usize) -> Self {
        Self {
            size,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
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
        limits::check(rules)
    }

    /// Composites, pads to a square, resizes (Catmull-Rom, the cubic of Pillow) and normalises.
    ///
    /// # Shapes
    /// `3 * size * size` numbers: channel, row, column
    pub fn process(&self, picture: &RgbaImage) -> Vec<f32> {
        let square = self.square(picture);
        let side = self.size as u32;
        let resized = if square.width() == side {
            square
        } else {
            imageops::resize(&square, side, side, FilterType::CatmullRom)
        };
        let (mean, std) = (self.mean, self.std);
        let channel = |channel: usize| {
            resized
                .pixels()
                .map(move |pixel| (f32::from(pixel[channel]) / 255.0 - mean[channel]) / std[channel])
        };
        (0..3).flat_map(channel).collect()
    }

    /// The picture on the mean colour, centred on a square of its longer side.
    fn square(&self, picture: &RgbaImage) -> RgbImage {
        let side = picture.width().max(picture.height()).max(1);
        let background = self.mean.map(|value| (value * 255.0).round() as u8);
        let mut square = RgbImage::from_pixel(side, side, Rgb(background));
        let (left, top) = ((side - picture.width()) / 2, (side - picture.height()) / 2);
        for (x, y, pixel) in picture.enumerate_pixels() {
            let alpha = u32::from(pixel[3]);
            let blend = |channel: usize| {
                let sum = u32::from(pixel[channel]) * alpha + u32::from(background[channel]) * (255 - alpha);
                ((sum + 127) / 255) as u8
            };
            square.put_pixel(left + x, top + y, Rgb([blend(0), blend(1), blend(2)]));
        }
        square
    }
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    #[test]
    fn what_lies_under_transparency_is_not_seen() {
        let processor = ImageProcessor::clip(8);
        let red = processor.process(&RgbaImage::from_pixel(8, 8, Rgba([255, 0, 0, 0])));
        let blue = processor.process(&RgbaImage::from_pixel(8, 8, Rgba([0, 0, 255, 0])));
        assert_eq!(red, blue);
        // The mean colour, to the rounding of one byte.
        assert!(red.iter().all(|value| value.abs() < 0.01));
    }

    #[test]
    fn channels_come_one_after_the_other_and_are_normalised() {
        let processor = ImageProcessor {
            size: 2,
            mean: [0.5; 3],
            std: [0.5; 3],
        };
        let pixels = processor.process(&RgbaImage::from_pixel(2, 2, Rgba([255, 0, 255, 255])));
        assert_eq!(pixels, [[1.0; 4], [-1.0; 4], [1.0; 4]].concat());
    }

    #[test]
    fn a_wide_picture_is_padded_not_stretched() {
        let processor = ImageProcessor {
            size: 4,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let pixels = processor.process(&RgbaImage::from_pixel(4, 2, Rgba([255, 255, 255, 255])));
        assert_eq!(pixels[..4], [0.0; 4]);
        assert_eq!(pixels[4..12], [1.0; 8]);
        assert_eq!(pixels[12..16], [0.0; 4]);
    }

    #[test]
    fn any_size_becomes_the_towers() {
        let processor = ImageProcessor::clip(16);
        for (width, height) in [(1, 1), (100, 7), (16, 16), (3, 50)] {
            assert_eq!(
                processor.process(&RgbaImage::new(width, height)).len(),
                3 * 16 * 16
            );
        }
    }
}

//! What a picture is painted on: the product as it stands, where the background goes, and the product's edges.

use burn::tensor::{Device, Tensor, TensorData};
use image::{GrayImage, RgbImage};

use crate::error::ModelError;

/// Three pictures of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    init: RgbImage,
    repaint: GrayImage,
    control: RgbImage,
}

impl Canvas {
    /// - `init`: the product on anything.
    /// - `repaint`: at least 128 where the background is painted; the latents below keep the product elsewhere.
    /// - `control`: what the ControlNet sees.
    ///
    /// # Errors
    /// [`ModelError::Canvas`] when they differ in size, or a side is no multiple of 8 from 64 to 4096.
    pub fn new(init: RgbImage, repaint: GrayImage, control: RgbImage) -> Result<Self, ModelError> {
        let (width, height) = init.dimensions();
        for (name, found) in [
            ("repaint", repaint.dimensions()),
            ("control", control.dimensions()),
        ] {
            if found != (width, height) {
                let reason = format!("{name} is {}x{}, expected {width}x{height}", found.0, found.1);
                return Err(ModelError::Canvas { reason });
            }
        }
        let fits = |side: u32| side.is_multiple_of(8) && (64..=4096).contains(&side);
        if !fits(width) || !fits(height) {
            let reason = format!("{width}x{height} pixels, expected multiples of 8 from 64 to 4096");
            return Err(ModelError::Canvas { reason });
        }
        Ok(Self {
            init,
            repaint,
            control,
        })
    }

    /// Width and height in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        self.init.dimensions()
    }

    /// What tells it from another one.
    pub(super) fn digest(&self) -> blake3::Hash {
        let (width, height) = self.dimensions();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&width.to_le_bytes()).update(&height.to_le_bytes());
        for pixels in [self.init.as_raw(), self.repaint.as_raw(), self.control.as_raw()] {
            hasher.update(pixels);
        }
        hasher.finalize()
    }

    /// `[1, 3, height, width]`, values -1 to 1.
    pub(super) fn init(&self, device: &Device) -> Tensor<4> {
        planes(&self.init, device) * 2.0 - 1.0
    }

    /// `[1, 3, height, width]`, values 0 to 1.
    pub(super) fn control(&self, device: &Device) -> Tensor<4> {
        planes(&self.control, device)
    }

    /// 1 where the background is painted, `[1, 1, height / factor, width / factor]`: the pixel at each of the latents' upper
    /// left corner decides, as in diffusers.
    pub(super) fn repaint(&self, factor: u32, device: &Device) -> Tensor<4> {
        let (width, height) = (self.dimensions().0 / factor, self.dimensions().1 / factor);
        let at = |i: u32| {
            let pixel = self.repaint.get_pixel(i % width * factor, i / width * factor);
            f32::from(u8::from(pixel.0[0] >= 128))
        };
        let values: Vec<f32> = (0..width * height).map(at).collect();
        Tensor::from_data(
            TensorData::new(values, [1, 1, height as usize, width as usize]),
            device,
        )
    }
}

/// Colours from 0 to 1, channel by channel.
fn planes(picture: &RgbImage, device: &Device) -> Tensor<4> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let plane = width * height;
    let mut values = vec![0.0f32; 3 * plane];
    for (place, pixel) in picture.pixels().enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            values[channel * plane + place] = f32::from(value) / 255.0;
        }
    }
    Tensor::from_data(TensorData::new(values, [1, 3, height, width]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_different_sizes_and_odd_sizes_are_refused() {
        let canvas = |init: (u32, u32), repaint: (u32, u32)| {
            let control = RgbImage::new(init.0, init.1);
            Canvas::new(
                RgbImage::new(init.0, init.1),
                GrayImage::new(repaint.0, repaint.1),
                control,
            )
        };
        assert!(canvas((64, 72), (64, 72)).is_ok());
        let differ = canvas((64, 72), (72, 64)).unwrap_err().to_string();
        assert_eq!(differ, "canvas: repaint is 72x64, expected 64x72");
        for odd in [(64, 70), (56, 64), (64, 4104)] {
            let refused = canvas(odd, odd).unwrap_err().to_string();
            assert!(refused.contains(&format!("{}x{}", odd.0, odd.1)), "{refused}");
        }
    }

    #[test]
    fn one_corner_decides_where_the_background_goes() {
        let mut repaint = GrayImage::new(64, 64);
        repaint.put_pixel(8, 16, image::Luma([128]));
        repaint.put_pixel(25, 16, image::Luma([255]));
        let canvas = Canvas::new(RgbImage::new(64, 64), repaint, RgbImage::new(64, 64)).unwrap();
        let mask: Vec<f32> = canvas
            .repaint(8, &Device::flex())
            .into_data()
            .try_to_vec()
            .unwrap();
        let painted: Vec<usize> = (0..64).filter(|&i| mask[i] == 1.0).collect();
        assert_eq!(painted, [2 * 8 + 1]);
    }
}

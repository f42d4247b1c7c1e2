//! A finished picture, before it is rounded to bytes.

use burn::tensor::Tensor;
use image::{Rgb, RgbImage};

/// Colours from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Channel by channel.
    values: Vec<f32>,
}

impl Picture {
    /// From the autoencoder's values, `[1, 3, height, width]` from about -1 to 1; none when one is not finite.
    pub(super) fn new(decoded: Tensor<4>) -> Option<Self> {
        let [_, _, height, width] = decoded.dims();
        let values: Vec<f32> = decoded.into_data().iter::<f32>().collect();
        values.iter().all(|value| value.is_finite()).then(|| Self {
            width,
            height,
            values: values
                .into_iter()
                .map(|value| (value / 2.0 + 0.5).clamp(0.0, 1.0))
                .collect(),
        })
    }

    /// Width and height in pixels.
    pub fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Colours from 0 to 1, `[3, height, width]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rounded to bytes, halves to even as numpy does.
    pub fn to_rgb(&self) -> RgbImage {
        let plane = self.width * self.height;
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let place = y as usize * self.width + x as usize;
            Rgb([0, 1, 2].map(|channel| {
                let value = self.values[channel * plane + place];
                (value * 255.0).round_ties_even() as u8
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn picture(values: [f32; 6]) -> Option<Picture> {
        let data = TensorData::new(values.to_vec(), [1, 3, 1, 2]);
        Picture::new(Tensor::from_data(data, &Device::flex()))
    }

    #[test]
    fn values_beyond_the_range_are_limited_and_bytes_are_rounded() {
        let found = picture([-1.5, 1.5, 0.0, 1.0, -1.0, 0.25]).unwrap();
        assert_eq!(found.values(), [0.0, 1.0, 0.5, 1.0, 0.0, 0.625]);
        let rgb = found.to_rgb();
        assert_eq!(rgb.get_pixel(0, 0).0, [0, 128, 0]);
        assert_eq!(rgb.get_pixel(1, 0).0, [255, 255, 159]);
    }

    #[test]
    fn what_is_not_finite_is_no_picture() {
        assert!(picture([0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0]).is_none());
        assert!(picture([0.0, 0.0, f32::INFINITY, 0.0, 0.0, 0.0]).is_none());
    }
}

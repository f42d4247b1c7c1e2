//! What is repainted: the mask of the final composite, and the wider one that the latents are blended with.

use crate::dilate::dilate;
use image::{GrayImage, Luma, RgbaImage};

/// The side of the square that CAIG dilates the repaint mask with, in pixels: the background may grow this far into the
/// product, 10 to the right and below and 9 to the left and above, so that it meets the product without a seam.
const DILATION: u32 = 20;

/// How much of each pixel of a placed product is repainted: 255 - alpha.
pub fn repaint_mask(placed: &RgbaImage) -> GrayImage {
    GrayImage::from_fn(placed.width(), placed.height(), |x, y| {
        Luma([255 - placed.get_pixel(x, y).0[3]])
    })
}

/// The repaint mask that the latents are blended with: dilated by a square of 20 pixels.
pub fn latent_repaint_mask(repaint: &GrayImage) -> GrayImage {
    dilate(repaint, DILATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_near_the_background_is_repainted_too(
            alphas in prop::collection::vec(prop_oneof![Just(255u8), Just(255), Just(255), any::<u8>()], 24 * 16)
        ) {
            let placed = RgbaImage::from_fn(24, 16, |x, y| Rgba([0, 0, 0, alphas[(y * 24 + x) as usize]]));
            let mask = latent_repaint_mask(&repaint_mask(&placed));
            for (x, y, pixel) in mask.enumerate_pixels() {
                let near = placed.enumerate_pixels().any(|(column, row, product)| {
                    column + 10 >= x && column <= x + 9 && row + 10 >= y && row <= y + 9 && product.0[3] <= 127
                });
                prop_assert_eq!(pixel.0[0] >= 128, near);
            }
        }
    }
}

//! What is repainted: the mask of the final composite, and the wider one that the latents are blended with.

use crate::{
    dilate::dilate,
    error::{ImagingError, not_empty},
};
use image::{GrayImage, Luma, RgbaImage};

/// Pixels of a canvas along each side of a latent pixel: what Stable Diffusion's VAE shrinks by.
pub const LATENT_FACTOR: u32 = 8;

/// The side of the square that CAIG dilates the repaint mask with, in pixels: the background may grow this far into the
/// product, 10 to the right and below and 9 to the left and above, so that it meets the product without a seam.
pub const DILATION: u32 = 20;

/// How much of each pixel of a placed product is repainted: 255 - alpha.
pub fn repaint_mask(placed: &RgbaImage) -> GrayImage {
    GrayImage::from_fn(placed.width(), placed.height(), |x, y| {
        Luma([255 - placed.get_pixel(x, y).0[3]])
    })
}

/// Which latent pixels are repainted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatentMask {
    /// The canvas's width over [`LATENT_FACTOR`].
    pub width: u32,
    /// The canvas's height over [`LATENT_FACTOR`].
    pub height: u32,
    /// Row by row: `true` is repainted, `false` is the product.
    pub repainted: Vec<bool>,
}

/// The repaint mask dilated by a square of [`DILATION`], made binary at one half, at the latents' size. Each latent pixel
/// takes the first pixel of its block, as PyTorch's `interpolate(mode="nearest")` does.
///
/// # Errors
/// [`ImagingError::NotLatent`] when a side is no multiple of [`LATENT_FACTOR`], [`ImagingError::Empty`] without pixels.
pub fn latent_mask(repaint: &GrayImage) -> Result<LatentMask, ImagingError> {
    let (width, height) = repaint.dimensions();
    not_empty("the repaint mask", (width, height))?;
    if !width.is_multiple_of(LATENT_FACTOR) || !height.is_multiple_of(LATENT_FACTOR) {
        return Err(ImagingError::NotLatent { width, height });
    }
    let dilated = dilate(repaint, DILATION);
    let (width, height) = (width / LATENT_FACTOR, height / LATENT_FACTOR);
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    Ok(LatentMask {
        width,
        height,
        repainted: places
            .map(|(x, y)| dilated.get_pixel(x * LATENT_FACTOR, y * LATENT_FACTOR).0[0] >= 128)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_latent_pixel_is_repainted_when_anything_near_its_first_pixel_is(
            alphas in prop::collection::vec(prop_oneof![Just(255u8), Just(255), Just(255), any::<u8>()], 24 * 16)
        ) {
            let placed = RgbaImage::from_fn(24, 16, |x, y| Rgba([0, 0, 0, alphas[(y * 24 + x) as usize]]));
            let mask = latent_mask(&repaint_mask(&placed)).unwrap();
            prop_assert_eq!((mask.width, mask.height), (3, 2));
            for (i, repainted) in mask.repainted.iter().enumerate() {
                let (x, y) = (i as u32 % 3 * 8, i as u32 / 3 * 8);
                let near = placed.enumerate_pixels().any(|(column, row, pixel)| {
                    column + 10 >= x && column <= x + 9 && row + 10 >= y && row <= y + 9 && pixel.0[3] <= 127
                });
                prop_assert_eq!(*repainted, near);
            }
        }
    }

    #[test]
    fn a_canvas_that_latents_do_not_divide_is_refused() {
        let refused = latent_mask(&GrayImage::new(512, 500));
        assert_eq!(
            refused,
            Err(ImagingError::NotLatent {
                width: 512,
                height: 500
            })
        );
        assert!(matches!(
            latent_mask(&GrayImage::new(0, 8)),
            Err(ImagingError::Empty { .. })
        ));
    }
}

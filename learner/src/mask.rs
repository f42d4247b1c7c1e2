//! CAIG's `PatchMasker` (`train_pcpo.py`): random square patches of a product image turned black, at the image's own
//! resolution, before it is resized for the vision tower.
//!
//! Two differences: the patch scales with the image, where the original assumes 800 pixels; and where the side is no
//! multiple of the patch, patches are a little larger instead of having soft borders.

use crate::config::MaskConfig;
use image::{Rgba, RgbaImage};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The side that [`MaskConfig::patch`] refers to, in pixels.
const REFERENCE_SIDE: f64 = 800.0;

/// `image` with `floor(ratio · patches)` of its patches black and opaque; which ones is a function of `seed`.
pub(crate) fn masked(image: &RgbaImage, config: &MaskConfig, seed: u64) -> RgbaImage {
    let (columns, rows) = grid(image, config.patch);
    let mut order: Vec<usize> = (0..columns * rows).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut hidden = vec![false; order.len()];
    for &patch in &order[..(config.ratio * order.len() as f64) as usize] {
        hidden[patch] = true;
    }
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut masked = image.clone();
    for (x, y, pixel) in masked.enumerate_pixels_mut() {
        let patch = (y as usize * rows / height) * columns + x as usize * columns / width;
        if hidden[patch] {
            *pixel = Rgba([0, 0, 0, 255]);
        }
    }
    masked
}

/// Columns and rows of patches.
fn grid(image: &RgbaImage, patch: u32) -> (usize, usize) {
    let longer = f64::from(image.width().max(image.height()));
    let side = (f64::from(patch) * longer / REFERENCE_SIDE).round().max(1.0) as u32;
    let count = |length: u32| (length / side).max(1) as usize;
    (count(image.width()), count(image.height()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn black(image: &RgbaImage) -> usize {
        image.pixels().filter(|pixel| pixel.0 == [0, 0, 0, 255]).count()
    }

    fn white(width: u32, height: u32) -> RgbaImage {
        RgbaImage::from_pixel(width, height, Rgba([255, 255, 255, 255]))
    }

    #[test]
    fn an_800_pixel_image_has_625_patches_of_which_468_are_masked() {
        let image = masked(&white(800, 800), &MaskConfig::default(), 1);
        assert_eq!(black(&image), 468 * 32 * 32);
    }

    #[test]
    fn the_patch_scales_with_the_image() {
        let config = MaskConfig {
            patch: 200,
            ratio: 0.75,
        };
        assert_eq!(grid(&white(48, 48), 200), (4, 4));
        assert_eq!(black(&masked(&white(48, 48), &config, 3)), 12 * 12 * 12);
        assert_eq!(grid(&white(800, 400), 32), (25, 12));
    }

    #[test]
    fn the_seed_chooses_the_patches() {
        let config = MaskConfig {
            patch: 200,
            ratio: 0.5,
        };
        assert_eq!(
            masked(&white(64, 64), &config, 1),
            masked(&white(64, 64), &config, 1)
        );
        assert_ne!(
            masked(&white(64, 64), &config, 1),
            masked(&white(64, 64), &config, 2)
        );
    }

    #[test]
    fn any_size_and_ratio_can_be_masked() {
        for (width, height) in [(1, 1), (5000, 3), (7, 30)] {
            for ratio in [0.0, 1.0] {
                let image = masked(&white(width, height), &MaskConfig { patch: 32, ratio }, 1);
                assert_eq!(black(&image) == (width * height) as usize, ratio == 1.0);
            }
        }
    }
}

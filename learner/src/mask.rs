//! Product images with random square patches turned black: CAIG's `PatchMasker` (`train_pcpo.py`).
//!
//! Its patches are 32 pixels of an image of about 800, which is one patch of its vision tower. On a small image seen by a
//! small tower 32 pixels, scaled or not, would be much less than a token or much more, and either no product would be hidden
//! or all of it. So patches are those of the tower, laid over the image as the tower sees it; mode `compat` has CAIG's own.

use crate::config::{LossConfig, LossMode};
use common::{InvalidConfig, SettingsCheck};
use image::{Rgba, RgbaImage};
use models::clip::ClipVisionConfig;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Side of CAIG's patches in pixels (`train_pcpo.py`, `PatchMasker`).
const CAIG_PATCH: usize = 32;

/// Masks images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Masker {
    patches: Patches,
    ratio: f64,
}

/// How an image is divided.
#[derive(Debug, Clone, Copy)]
enum Patches {
    /// Into squares of `side` tower patches; the tower has `tower` in a row.
    OfTower { tower: usize, side: usize },
    /// Into squares of `side` pixels.
    OfImage { side: usize },
}

/// For each pixel of a row or column the patches that it lies in, with shares that add up to 1.
type Axis = Vec<Vec<(usize, f64)>>;

impl Masker {
    /// The masker of a loss for the images that a vision tower reads.
    pub(crate) fn new(loss: &LossConfig, vision: &ClipVisionConfig) -> Self {
        let side = loss.mask.patch as usize;
        let patches = match loss.mode {
            LossMode::Compat => Patches::OfImage {
                side: side * CAIG_PATCH,
            },
            _ => Patches::OfTower {
                tower: vision.image_size / vision.patch_size,
                side,
            },
        };
        Self {
            patches,
            ratio: loss.mask.ratio,
        }
    }

    /// Refuses patches so large that none of a square image would be masked.
    ///
    /// # Errors
    /// [`InvalidConfig`] naming the key, its value and what would be right.
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        let Patches::OfTower { tower, side } = self.patches else {
            return Ok(());
        };
        let in_a_row = tower.div_ceil(side);
        if self.ratio == 0.0 || count(in_a_row * in_a_row, self.ratio) > 0 {
            return Ok(());
        }
        let ratio = self.ratio;
        let reason = format!(
            "expected a smaller one, or a larger loss.mask.ratio: the policy's vision tower has {tower}x{tower} patches, and \
             {ratio} of {in_a_row}x{in_a_row} masked ones is less than one"
        );
        let mut check = SettingsCheck::default();
        check.note("loss.mask.patch", side, reason);
        check.finish()
    }

    /// `image` with `floor(ratio · patches)` of its patches black; which ones is a function of `seed`.
    pub(crate) fn masked(&self, image: &RgbaImage, seed: u64) -> RgbaImage {
        let longer = image.width().max(image.height()) as usize;
        let axis = |length: u32| match self.patches {
            Patches::OfTower { tower, side } => tower_axis(length as usize, longer, tower, side),
            Patches::OfImage { side } => pooled_axis(length as usize, side),
        };
        let (across, down) = (axis(image.width()), axis(image.height()));
        let columns = patches(&across);
        let hidden = hidden(columns * patches(&down), self.ratio, seed);
        let mut masked = image.clone();
        for (x, y, pixel) in masked.enumerate_pixels_mut() {
            let cells = down[y as usize]
                .iter()
                .flat_map(|row| across[x as usize].iter().map(move |column| (row, column)));
            let black: f64 = cells
                .filter(|(row, column)| hidden[row.0 * columns + column.0])
                .map(|(row, column)| row.1 * column.1)
                .sum();
            *pixel = under_black(*pixel, black);
        }
        masked
    }
}

/// How many of so many patches are masked.
fn count(patches: usize, ratio: f64) -> usize {
    (ratio * patches as f64) as usize
}

fn patches(axis: &Axis) -> usize {
    axis.last()
        .and_then(|last| last.last())
        .map_or(1, |last| last.0 + 1)
}

/// Which patches are hidden.
fn hidden(patches: usize, ratio: f64, seed: u64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..patches).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut hidden = vec![false; patches];
    for &patch in &order[..count(patches, ratio)] {
        hidden[patch] = true;
    }
    hidden
}

/// Patches of `side` tower patches along `length` pixels, centred on a square of `longer` pixels that the tower divides into
/// `tower` patches a row (into single pixels where there are fewer).
fn tower_axis(length: usize, longer: usize, tower: usize, side: usize) -> Axis {
    let tower = tower.min(longer);
    let patch = |pixel: usize| (pixel + (longer - length) / 2) * tower / longer / side;
    (0..length)
        .map(|pixel| vec![(patch(pixel) - patch(0), 1.0)])
        .collect()
}

/// Whole patches of `side` pixels, as many as fit into `length` pixels, stretched over them as torch's
/// `adaptive_avg_pool2d` does: a pixel takes the mean of all places that it touches.
fn pooled_axis(length: usize, side: usize) -> Axis {
    let source = (length / side).max(1) * side.min(length);
    let pooled = |pixel: usize| {
        let places = pixel * source / length..((pixel + 1) * source).div_ceil(length);
        let share = 1.0 / places.len() as f64;
        places.map(|place| (place / side, share)).collect()
    };
    (0..length).map(pooled).collect()
}

/// A pixel under a layer of black of an opacity.
fn under_black(pixel: Rgba<u8>, opacity: f64) -> Rgba<u8> {
    if opacity == 0.0 {
        return pixel;
    }
    let alpha = f64::from(pixel.0[3]) / 255.0;
    let covered = 1.0 - (1.0 - opacity) * (1.0 - alpha);
    let colour = |value: u8| (f64::from(value) * (1.0 - opacity) * alpha / covered).round() as u8;
    let [red, green, blue, _] = pixel.0;
    Rgba([
        colour(red),
        colour(green),
        colour(blue),
        (covered * 255.0).round() as u8,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MaskConfig;
    use models::processor::ImageProcessor;

    /// A tower of `side` pixels with patches of `patch` pixels.
    fn tower(side: usize, patch: usize) -> ClipVisionConfig {
        ClipVisionConfig {
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_channels: 3,
            image_size: side,
            patch_size: patch,
            layer_norm_eps: 1e-5,
        }
    }

    fn masker(mode: LossMode, patch: u32, ratio: f64) -> Masker {
        let loss = LossConfig {
            mask: MaskConfig { patch, ratio },
            ..LossConfig::of(mode)
        };
        Masker::new(&loss, &tower(32, 8))
    }

    fn black(image: &RgbaImage) -> usize {
        image.pixels().filter(|pixel| pixel.0 == [0, 0, 0, 255]).count()
    }

    fn white(width: u32, height: u32) -> RgbaImage {
        RgbaImage::from_pixel(width, height, Rgba([255, 255, 255, 255]))
    }

    /// The demo's cut-outs and tower: 96 pixels seen as 32.
    #[test]
    fn masked_patches_hide_whole_tokens_and_leave_the_others_alone() {
        let processor = ImageProcessor::clip(32);
        let see = |image: &RgbaImage| processor.process(image).values;
        let (image, masked) = (
            white(96, 96),
            masker(LossMode::Paper, 1, 0.75).masked(&white(96, 96), 3),
        );
        assert_eq!(black(&masked), 12 * 24 * 24);
        let (before, after) = (see(&image), see(&masked));
        let dark = see(&RgbaImage::from_pixel(1, 1, Rgba([0, 0, 0, 255])));
        // The middle of a token, where resizing mixes nothing in.
        let middles = (0..16).map(|token| (token / 4 * 8 + 4) * 32 + token % 4 * 8 + 4);
        let seen: Vec<f32> = middles.map(|pixel| after[pixel]).collect();
        assert_eq!(seen.iter().filter(|&&value| value == dark[0]).count(), 12);
        assert_eq!(seen.iter().filter(|&&value| value == before[0]).count(), 4);
    }

    #[test]
    fn a_patch_follows_the_tower_whatever_the_shape_of_the_image() {
        let of = |patch, width, height| {
            black(&masker(LossMode::MaskOnly, patch, 0.5).masked(&white(width, height), 1))
        };
        assert_eq!(of(1, 800, 800), 8 * 200 * 200);
        assert_eq!(of(2, 800, 800), 2 * 400 * 400);
        // Padded to a square, a picture of half its height fills two of four rows.
        assert_eq!(of(1, 800, 400), 4 * 200 * 200);
    }

    #[test]
    fn compat_masks_468_of_the_625_patches_of_an_800_pixel_image() {
        let masker = masker(LossMode::Compat, 1, 0.75);
        assert_eq!(black(&masker.masked(&white(800, 800), 1)), 468 * 32 * 32);
        // Not scaled: a small image has few patches.
        assert_eq!(black(&masker.masked(&white(96, 96), 1)), 6 * 32 * 32);
    }

    #[test]
    fn compat_has_soft_borders_where_patches_do_not_fill_the_image() {
        // torch: adaptive_avg_pool1d of [0] * 32 + [1] * 32 to 70 numbers.
        let axis = pooled_axis(70, 32);
        let second = |pixel: usize| -> f64 {
            let in_second = axis[pixel].iter().filter(|(patch, _)| *patch == 1);
            in_second.map(|(_, share)| share).sum()
        };
        assert_eq!(patches(&axis), 2);
        assert_eq!([33, 34, 35, 36].map(second), [0.0, 0.0, 1.0, 1.0]);
        let axis = pooled_axis(65, 32);
        assert_eq!(axis[32], [(0, 0.5), (1, 0.5)]);
        assert!(
            axis.iter()
                .all(|shares| shares.iter().map(|(_, s)| s).sum::<f64>() == 1.0)
        );
        let masked = masker(LossMode::Compat, 1, 0.5).masked(&white(65, 32), 1);
        assert_eq!(masked.get_pixel(32, 0).0, [128, 128, 128, 255]);
    }

    #[test]
    fn black_covers_what_lies_behind_a_transparent_pixel_too() {
        let processor = ImageProcessor::clip(1);
        let glass = Rgba([200, 100, 50, 102]);
        let half = under_black(glass, 0.5);
        let see = |pixel| processor.process(&RgbaImage::from_pixel(1, 1, pixel)).values;
        let shown = |values: Vec<f32>| -> Vec<f32> {
            let (mean, std) = (processor.mean, processor.std);
            (0..3).map(|c| 255.0 * (values[c] * std[c] + mean[c])).collect()
        };
        for (whole, half) in shown(see(glass)).iter().zip(shown(see(half))) {
            assert!((whole / 2.0 - half).abs() <= 1.0, "{whole} {half}");
        }
        assert_eq!(under_black(glass, 1.0).0, [0, 0, 0, 255]);
    }

    #[test]
    fn the_seed_chooses_the_patches() {
        for mode in [LossMode::MaskOnly, LossMode::Compat] {
            let of = |seed| masker(mode, 1, 0.5).masked(&white(96, 96), seed);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
        }
    }

    #[test]
    fn any_size_and_ratio_can_be_masked() {
        for mode in [LossMode::MaskOnly, LossMode::Compat] {
            for (width, height) in [(1, 1), (5000, 3), (7, 30), (33, 65)] {
                for ratio in [0.0, 1.0] {
                    let image = masker(mode, 1, ratio).masked(&white(width, height), 1);
                    assert_eq!(black(&image) == (width * height) as usize, ratio == 1.0);
                }
            }
        }
    }

    #[test]
    fn patches_that_would_mask_nothing_are_refused() {
        let refusal = masker(LossMode::Paper, 4, 0.75).check().unwrap_err();
        assert!(
            refusal.to_string().starts_with("loss.mask.patch = 4"),
            "{refusal}"
        );
        for (mode, patch, ratio) in [
            (LossMode::Paper, 3, 0.75),
            (LossMode::Paper, 4, 0.0),
            (LossMode::Compat, 4, 0.75),
        ] {
            assert!(masker(mode, patch, ratio).check().is_ok());
        }
    }
}

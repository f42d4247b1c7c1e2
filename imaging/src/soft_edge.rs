//! The background under a product's soft edge, before the two are mixed.
//!
//! What is painted there was painted around something else: the product on black, as the networks saw it. A
//! background of its own colours elsewhere can be dark or glaring under the very pixels that show a little of
//! it, which the eye takes for a rim. So there each channel is held within what the visible background around
//! it has. It looks through the window that [`crate::guardrails::halo`] measures with; what the product's own
//! soft colours bring is not touched.

use crate::{
    around::Around,
    error::{ImagingError, same_size},
};
use image::{RgbImage, RgbaImage};

/// The background with each channel of what lies under a soft pixel (alpha 1 to 254) held within the least
/// and the most of it among the fully transparent pixels at most [`RADIUS`](crate::guardrails::halo::RADIUS)
/// pixels away; where there are none, it stays.
///
/// # Errors
/// [`ImagingError::SizesDiffer`] when the two differ in size.
pub fn held_background(background: &RgbImage, placed: &RgbaImage) -> Result<RgbImage, ImagingError> {
    same_size("the background", background.dimensions(), placed.dimensions())?;
    let visible = Around::of(placed, |alpha| alpha == 0);
    let soft: Vec<(u32, u32)> = placed
        .enumerate_pixels()
        .filter(|(x, y, pixel)| (1..255).contains(&pixel.0[3]) && visible.has_any(*x, *y))
        .map(|(x, y, _)| (x, y))
        .collect();
    let mut held = background.clone();
    for channel in 0..3 {
        let range = visible.range(background, channel);
        for (x, y) in &soft {
            let level = &mut held.get_pixel_mut(*x, *y).0[channel];
            *level = (*level).clamp(range.least(*x, *y), range.most(*x, *y));
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composite::composite;
    use crate::guardrails::halo::{RADIUS, halo};
    use image::{Rgb, Rgba};
    use proptest::prelude::*;

    const WIDTH: u32 = 20;
    const HEIGHT: u32 = 14;

    fn background(bytes: Vec<u8>) -> RgbImage {
        RgbImage::from_raw(WIDTH, HEIGHT, bytes).unwrap()
    }

    /// The levels that a channel may have at a place, by looking at each pixel of the window.
    fn visible(background: &RgbImage, placed: &RgbaImage, x: u32, y: u32, channel: usize) -> Vec<u8> {
        let near = |a: u32, b: u32| a.abs_diff(b) as usize <= RADIUS;
        placed
            .enumerate_pixels()
            .filter(|(column, row, pixel)| pixel.0[3] == 0 && near(*column, x) && near(*row, y))
            .map(|(column, row, _)| background.get_pixel(column, row).0[channel])
            .collect()
    }

    proptest! {
        #[test]
        fn only_what_lies_under_a_soft_edge_is_held(
            bytes in prop::collection::vec(any::<u8>(), (WIDTH * HEIGHT * 3) as usize),
            alphas in prop::collection::vec(
                prop_oneof![8 => Just(255u8), 1 => Just(0u8), 4 => any::<u8>()], (WIDTH * HEIGHT) as usize
            ),
        ) {
            let placed = RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| Rgba([9, 9, 9, alphas[(y * WIDTH + x) as usize]]));
            let background = background(bytes);
            let held = held_background(&background, &placed).unwrap();
            for (x, y, pixel) in placed.enumerate_pixels() {
                for channel in 0..3 {
                    let (before, after) = (background.get_pixel(x, y).0[channel], held.get_pixel(x, y).0[channel]);
                    let levels = visible(&background, &placed, x, y, channel);
                    let expected = match (pixel.0[3], levels.iter().min(), levels.iter().max()) {
                        (1..=254, Some(&least), Some(&most)) => before.clamp(least, most),
                        _ => before,
                    };
                    prop_assert_eq!(after, expected);
                }
            }
        }

        #[test]
        fn a_product_of_one_colour_has_no_rim_on_any_background(
            colour in any::<[u8; 3]>(), bytes in prop::collection::vec(any::<u8>(), (WIDTH * HEIGHT * 3) as usize)
        ) {
            let [red, green, blue] = colour;
            let placed = RgbaImage::from_fn(WIDTH, HEIGHT, |x, _| {
                Rgba([red, green, blue, [0, 60, 128, 200, 255][x.saturating_sub(8).min(4) as usize]])
            });
            let held = held_background(&background(bytes), &placed).unwrap();
            let rim = halo(&composite(&held, &placed).unwrap(), &placed).unwrap();
            prop_assert_eq!((rim.excess, rim.measured), (0.0, 3 * HEIGHT as usize));
        }
    }

    #[test]
    fn a_background_of_another_size_is_refused() {
        let refused = held_background(&RgbImage::from_pixel(4, 5, Rgb([1; 3])), &RgbaImage::new(5, 4));
        assert!(
            matches!(refused, Err(ImagingError::SizesDiffer { .. })),
            "{refused:?}"
        );
    }
}

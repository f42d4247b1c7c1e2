//! Where a cut-out stands on its canvas.
//!
//! [`place`] is the default: the product's box includes its last row and column, and colours are averaged weighted by their
//! alpha, so that no halo of what is hidden behind the cut-out appears. [`compat`] is CAIG's `golden_ratio_center_zoom`.

pub mod compat;

use crate::{
    error::{ImagingError, not_empty},
    region::Region,
    resample,
};
use image::RgbaImage;

/// The share of the canvas that a placed product takes at most of either side (CAIG `utils.py`, `golden_ratio_center_zoom`).
pub const GOLDEN_SCALE: f64 = 0.78;

/// Where a product stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// In the canvas's middle, as large as fits into this share of its width and of its height; CAIG's is [`GOLDEN_SCALE`].
    Centred(f64),
    /// In the middle of a box of the canvas, as large as fits into it.
    Within(Region),
}

/// Places the visible part of a cut-out on a transparent canvas of `width` x `height` pixels, its proportions kept.
///
/// # Errors
/// [`ImagingError::Transparent`] when nothing of the product is visible, [`ImagingError::Scale`] for a share outside (0, 1],
/// [`ImagingError::OutsideCanvas`] for a box beyond the canvas or without pixels, [`ImagingError::Empty`] for a canvas
/// without pixels.
pub fn place(cutout: &RgbaImage, width: u32, height: u32, place: Place) -> Result<RgbaImage, ImagingError> {
    let source = Region::of_product(cutout).ok_or(ImagingError::Transparent {
        width: cutout.width(),
        height: cutout.height(),
    })?;
    let region = target(source, width, height, place)?;
    let product = resample::resize(cutout, source, region.width, region.height);
    let mut canvas = RgbaImage::new(width, height);
    image::imageops::replace(
        &mut canvas,
        &product,
        i64::from(region.left),
        i64::from(region.top),
    );
    Ok(canvas)
}

/// The part of the canvas that the product's box `source` is scaled to.
fn target(source: Region, width: u32, height: u32, place: Place) -> Result<Region, ImagingError> {
    not_empty("the canvas", (width, height))?;
    let (frame, room) = match place {
        Place::Centred(scale) => {
            check_scale(scale)?;
            let share = |side: u32| (f64::from(side) * scale) as u32;
            let whole = Region {
                left: 0,
                top: 0,
                width,
                height,
            };
            (whole, (share(width), share(height)))
        }
        Place::Within(region) if region.lies_on(width, height) => (region, (region.width, region.height)),
        Place::Within(region) => {
            return Err(ImagingError::OutsideCanvas {
                region,
                width,
                height,
            });
        }
    };
    let fitted = fit(source, room);
    Ok(Region {
        left: frame.left + (frame.width - fitted.0) / 2,
        top: frame.top + (frame.height - fitted.1) / 2,
        width: fitted.0,
        height: fitted.1,
    })
}

/// The largest sides in the proportions of `source` that fit into `room`, at least one pixel.
fn fit(source: Region, room: (u32, u32)) -> (u32, u32) {
    let wide = |length: u32| u64::from(length);
    let scaled = |length: u32, to: u32, from: u32| (wide(length) * wide(to) / wide(from)).max(1) as u32;
    if wide(source.width) * wide(room.1) >= wide(source.height) * wide(room.0) {
        (room.0.max(1), scaled(source.height, room.0, source.width))
    } else {
        (scaled(source.width, room.1, source.height), room.1.max(1))
    }
}

fn check_scale(scale: f64) -> Result<(), ImagingError> {
    if scale > 0.0 && scale <= 1.0 {
        return Ok(());
    }
    Err(ImagingError::Scale { scale })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use proptest::prelude::*;

    const RED: Rgba<u8> = Rgba([200, 10, 30, 255]);

    proptest! {
        #[test]
        fn a_centred_product_fills_its_share_of_one_side_and_no_more_of_the_other(
            (width, height) in (1u32..200, 1u32..200), (across, down) in (8u32..100, 8u32..100), scale in 0.2f64..=1.0
        ) {
            let placed = place(&RgbaImage::from_pixel(width, height, RED), across, down, Place::Centred(scale)).unwrap();
            let found = Region::of_product(&placed).unwrap();
            let most = ((f64::from(across) * scale) as u32, (f64::from(down) * scale) as u32);
            prop_assert!(found.width <= most.0 && found.height <= most.1);
            prop_assert!(found.width == most.0 || found.height == most.1);
            prop_assert!((2 * found.left + found.width).abs_diff(across) <= 1);
            prop_assert!((2 * found.top + found.height).abs_diff(down) <= 1);
            prop_assert!(placed.pixels().all(|p| p.0[3] == 0 || *p == RED));
        }

        #[test]
        fn a_product_stays_within_its_box(
            (width, height) in (1u32..60, 1u32..60), (left, top) in (0u32..30, 0u32..30), (across, down) in (1u32..40, 1u32..40)
        ) {
            let region = Region { left, top, width: across, height: down };
            let placed = place(&RgbaImage::from_pixel(width, height, RED), 70, 75, Place::Within(region)).unwrap();
            let found = Region::of_product(&placed).unwrap();
            prop_assert!(found.left >= left && found.left + found.width <= left + across);
            prop_assert!(found.top >= top && found.top + found.height <= top + down);
            prop_assert!(found.width == across || found.height == down);
        }
    }

    #[test]
    fn what_cannot_be_placed_is_refused_with_what_would_be_right() {
        let product = RgbaImage::from_pixel(4, 4, RED);
        for scale in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY] {
            let refused = place(&product, 64, 64, Place::Centred(scale));
            assert!(
                matches!(refused, Err(ImagingError::Scale { .. })),
                "{scale}: {refused:?}"
            );
        }
        for (left, width) in [(60, 5), (0, 0), (u32::MAX, 2)] {
            let region = Region {
                left,
                top: 0,
                width,
                height: 9,
            };
            let refused = place(&product, 64, 64, Place::Within(region));
            assert!(
                matches!(refused, Err(ImagingError::OutsideCanvas { .. })),
                "{refused:?}"
            );
        }
        let hidden = RgbaImage::from_pixel(4, 4, Rgba([9, 9, 9, 127]));
        let refused = place(&hidden, 64, 64, Place::Centred(0.5));
        assert_eq!(refused, Err(ImagingError::Transparent { width: 4, height: 4 }));
        let refused = place(&product, 0, 64, Place::Centred(0.5));
        assert!(matches!(refused, Err(ImagingError::Empty { .. })), "{refused:?}");
    }
}

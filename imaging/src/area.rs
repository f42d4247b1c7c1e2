//! Resizing as OpenCV's `INTER_AREA` does it, to the bit, on straight (not premultiplied) RGBA: what CAIG's reference places
//! products with.
//!
//! A pixel without alpha brings its hidden colour in, hence halos: [`crate::placement::place`] is the one to use otherwise. OpenCV has
//! three ways: whole factors (sums of integers), other reductions (area weights in `f32`), and, when either side
//! grows, interpolation with 11-bit weights between at most two pixels.

mod enlarge;
mod shrink;

use crate::error::{ImagingError, not_empty};
use image::RgbaImage;

/// Resizes a picture to `width` x `height` pixels.
///
/// # Errors
/// [`ImagingError::Empty`] when either picture has no pixels.
pub fn resize(picture: &RgbaImage, width: u32, height: u32) -> Result<RgbaImage, ImagingError> {
    not_empty("the picture to resize", picture.dimensions())?;
    not_empty("the resized picture", (width, height))?;
    let columns = Axis::new(picture.width(), width);
    let rows = Axis::new(picture.height(), height);
    if columns.scale < 1.0 || rows.scale < 1.0 {
        return Ok(enlarge::resize(picture, &columns, &rows));
    }
    match (columns.whole_factor(), rows.whole_factor()) {
        (Some(across), Some(down)) => Ok(shrink::by_whole_factors(picture, across, down)),
        _ => Ok(shrink::by_areas(picture, &columns, &rows)),
    }
}

/// One direction of a resize.
struct Axis {
    source: u32,
    target: u32,
    /// Target pixels per source pixel.
    inverse: f64,
    /// Source pixels per target pixel, as the reciprocal of `inverse`: OpenCV has it rounded twice.
    scale: f64,
}

impl Axis {
    fn new(source: u32, target: u32) -> Self {
        let inverse = f64::from(target) / f64::from(source);
        Self {
            source,
            target,
            inverse,
            scale: 1.0 / inverse,
        }
    }

    fn whole_factor(&self) -> Option<u32> {
        let factor = self.scale.round_ties_even();
        ((self.scale - factor).abs() < f64::EPSILON).then_some(factor as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_picture_stays_plain(
            colour in any::<[u8; 4]>(), (width, height) in (1u32..30, 1u32..30), (to_width, to_height) in (1u32..30, 1u32..30)
        ) {
            let resized = resize(&RgbaImage::from_pixel(width, height, Rgba(colour)), to_width, to_height).unwrap();
            prop_assert_eq!(resized.dimensions(), (to_width, to_height));
            prop_assert!(resized.pixels().all(|pixel| pixel.0 == colour), "{:?}", resized.as_raw());
        }

        #[test]
        fn equal_sizes_change_nothing(bytes in prop::collection::vec(any::<u8>(), 7 * 5 * 4)) {
            let picture = RgbaImage::from_raw(7, 5, bytes).unwrap();
            prop_assert_eq!(resize(&picture, 7, 5).unwrap(), picture);
        }
    }

    #[test]
    fn a_picture_without_pixels_is_refused_by_name() {
        let error = resize(&RgbaImage::new(3, 0), 2, 2).unwrap_err();
        assert!(error.to_string().contains("picture to resize is 3x0"), "{error}");
        let error = resize(&RgbaImage::new(3, 3), 0, 2).unwrap_err();
        assert!(error.to_string().contains("resized picture is 0x2"), "{error}");
    }
}

//! CAIG's `golden_ratio_center_zoom`, to the pixel: the box leaves out its last row and column, and hidden colours are averaged
//! in. Where that box has no pixel, the whole picture is placed.

use super::check_scale;
use crate::{
    area,
    error::{ImagingError, not_empty},
    region::Region,
};
use image::{RgbaImage, imageops};

/// Places a cut-out on a transparent canvas of `width` x `height` pixels, as large as fits into the share `scale` of both
/// sides; CAIG's is [`super::GOLDEN_SCALE`].
///
/// # Errors
/// [`ImagingError::Scale`] for a share outside (0, 1], [`ImagingError::Empty`] for a cut-out or canvas without pixels,
/// [`ImagingError::TooThin`] when a side of the placed product would be 0, where the reference fails in OpenCV.
pub fn place(cutout: &RgbaImage, width: u32, height: u32, scale: f64) -> Result<RgbaImage, ImagingError> {
    check_scale(scale)?;
    not_empty("the cut-out", cutout.dimensions())?;
    not_empty("the canvas", (width, height))?;
    let source = shortened_box(cutout);
    let (new_width, new_height) = fit(source, width, height, scale);
    if new_width == 0 || new_height == 0 {
        return Err(ImagingError::TooThin {
            width: source.width,
            height: source.height,
        });
    }
    let crop = imageops::crop_imm(cutout, source.left, source.top, source.width, source.height).to_image();
    let product = area::resize(&crop, new_width, new_height)?;
    let left = (width - new_width) / 2;
    // The reference halves the two separately and cuts towards zero.
    let top = (f64::from(height / 2) - f64::from(new_height) / 2.0) as u32;
    let mut canvas = RgbaImage::new(width, height);
    imageops::replace(&mut canvas, &product, i64::from(left), i64::from(top));
    Ok(canvas)
}

/// The product's box without its last row and column, or the whole picture where that is empty.
fn shortened_box(cutout: &RgbaImage) -> Region {
    match Region::of_product(cutout) {
        Some(found) if found.width > 1 && found.height > 1 => Region {
            width: found.width - 1,
            height: found.height - 1,
            ..found
        },
        _ => Region::whole(cutout),
    }
}

/// The placed sides; the order of operations is the reference's, because its result is cut to an integer.
fn fit(source: Region, width: u32, height: u32, scale: f64) -> (u32, u32) {
    let most = |side: u32| (f64::from(side) * scale) as u32;
    let (most_width, most_height) = (most(width), most(height));
    let (across, down) = (f64::from(source.width), f64::from(source.height));
    // The longer side first; the other follows from it.
    if down >= across {
        let new_height = most_height.min((f64::from(most_width) / across * down) as u32);
        ((f64::from(new_height) / down * across) as u32, new_height)
    } else {
        let new_width = most_width.min((f64::from(most_height) / down * across) as u32);
        (new_width, (f64::from(new_width) / across * down) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    #[test]
    fn hidden_colours_bleed_in_and_the_last_row_and_column_go() {
        let mut cutout = RgbaImage::from_pixel(40, 40, Rgba([0, 255, 0, 0]));
        for (x, y) in (10..31).flat_map(|x| (10..31).map(move |y| (x, y))) {
            cutout.put_pixel(x, y, Rgba([255, 0, 0, 255]));
        }
        cutout.put_pixel(10, 10, Rgba([0, 255, 0, 0]));
        let placed = place(&cutout, 20, 20, 0.5).unwrap();
        let found = Region::of_product(&placed).unwrap();
        assert_eq!((found.width, found.height), (10, 10));
        assert_eq!(placed.get_pixel(5, 5).0, [191, 64, 0, 191]);
    }

    #[test]
    fn what_has_no_box_is_placed_whole() {
        let hidden = RgbaImage::from_pixel(30, 15, Rgba([7, 8, 9, 0]));
        let placed = place(&hidden, 40, 40, 0.5).unwrap();
        assert_eq!(placed.get_pixel(10, 15).0, [7, 8, 9, 0]);
        assert_eq!(placed.get_pixel(10, 14).0, [0; 4]);
    }

    #[test]
    fn a_product_that_scales_to_nothing_is_refused() {
        let long = RgbaImage::from_pixel(2000, 2, Rgba([1, 2, 3, 255]));
        let refused = place(&long, 64, 64, 0.78);
        assert_eq!(
            refused,
            Err(ImagingError::TooThin {
                width: 1999,
                height: 1
            })
        );
    }
}

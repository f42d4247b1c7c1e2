//! What the ControlNet sees of a product: its edges, outline included.

use crate::{
    canny::{HIGH_THRESHOLD, LOW_THRESHOLD, canny},
    region::VISIBLE,
};
use image::{Rgb, RgbImage, RgbaImage};

/// The control image of a placed product: Canny edges with CAIG's thresholds, three equal channels of 0 or 255. Pixels with an
/// alpha below 128 count as black. It has the canvas's size, so an edge lies on the very pixel that the composite keeps.
pub fn control_image(placed: &RgbaImage) -> RgbImage {
    let (width, height) = placed.dimensions();
    let product = RgbImage::from_fn(width, height, |x, y| {
        let [red, green, blue, alpha] = placed.get_pixel(x, y).0;
        Rgb(if alpha < VISIBLE {
            [0; 3]
        } else {
            [red, green, blue]
        })
    });
    let edges = canny(&product, LOW_THRESHOLD, HIGH_THRESHOLD);
    RgbImage::from_fn(width, height, |x, y| Rgb([edges.get_pixel(x, y).0[0]; 3]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hidden_colours_never_show(hidden in any::<[u8; 3]>(), alpha in 0u8..128) {
            let picture = |hidden: [u8; 3]| RgbaImage::from_fn(32, 32, |x, y| {
                let inside = (8..24).contains(&x) && (8..24).contains(&y);
                let [red, green, blue] = hidden;
                Rgba(if inside { [220, 200, 40, 255] } else { [red, green, blue, alpha] })
            });
            let image = control_image(&picture(hidden));
            prop_assert_eq!(&image, &control_image(&picture([0; 3])));
            prop_assert!(image.pixels().any(|pixel| pixel.0 == [255; 3]));
        }
    }
}

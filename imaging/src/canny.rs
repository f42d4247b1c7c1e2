//! Canny edges, equal to OpenCV's `Canny` with aperture 3 and the L1 norm, pixel for pixel.
//!
//! Integers all the way: Sobel gradients, |dx| + |dy| as magnitude, three sectors of direction by fixed-point tangents, and
//! hysteresis over eight neighbours. Of several colour channels each pixel uses the one with the largest magnitude.
//! Canny, *A Computational Approach to Edge Detection*, PAMI 1986.

use image::{GrayImage, Luma, RgbImage};

/// CAIG's lower threshold on the magnitude: an edge goes on through pixels above it.
pub const LOW_THRESHOLD: u32 = 100;

/// CAIG's upper threshold on the magnitude: an edge begins at pixels above it.
pub const HIGH_THRESHOLD: u32 = 200;

/// Edges of a colour picture: 255 on an edge, 0 elsewhere. Thresholds are exclusive, in levels of |dx| + |dy| (0 to 2040);
/// the smaller one is the lower one.
///
/// Of channels with the same magnitude blue is taken before green before red, OpenCV's order of channels.
pub fn canny(picture: &RgbImage, low: u32, high: u32) -> GrayImage {
    let (width, height) = picture.dimensions();
    let bytes = picture.as_raw();
    let gradients = strongest(width, height, |x, y| {
        let pixel = (y * width as usize + x) * 3;
        [bytes[pixel + 2], bytes[pixel + 1], bytes[pixel]]
    });
    edges(&gradients, low, high)
}

/// The gradient at each pixel, row by row.
struct Gradients {
    width: usize,
    height: usize,
    pixels: Vec<Gradient>,
}

#[derive(Clone, Copy, Default)]
struct Gradient {
    dx: i32,
    dy: i32,
}

impl Gradient {
    fn magnitude(self) -> i32 {
        self.dx.abs() + self.dy.abs()
    }
}

impl Gradients {
    /// The magnitude at a place, which may be one pixel outside, where it is 0.
    fn magnitude(&self, x: isize, y: isize) -> i32 {
        match (usize::try_from(x), usize::try_from(y)) {
            (Ok(x), Ok(y)) if x < self.width && y < self.height => {
                self.pixels[y * self.width + x].magnitude()
            }
            _ => 0,
        }
    }
}

/// Sobel gradients, of each pixel's channel with the largest magnitude, the first of equals. Outside the picture its
/// border pixels go on.
fn strongest<const C: usize>(width: u32, height: u32, pixel: impl Fn(usize, usize) -> [u8; C]) -> Gradients {
    let (width, height) = (width as usize, height as usize);
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)];
        for x in 0..width {
            let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            let around = rows.map(|y| columns.map(|x| pixel(x, y)));
            let mut best = sobel(&around, 0);
            for channel in 1..C {
                let other = sobel(&around, channel);
                if other.magnitude() > best.magnitude() {
                    best = other;
                }
            }
            pixels.push(best);
        }
    }
    Gradients {
        width,
        height,
        pixels,
    }
}

fn sobel<const C: usize>(around: &[[[u8; C]; 3]; 3], channel: usize) -> Gradient {
    let at = |row: usize, column: usize| i32::from(around[row][column][channel]);
    let down = |column: usize| at(0, column) + 2 * at(1, column) + at(2, column);
    let across = |row: usize| at(row, 0) + 2 * at(row, 1) + at(row, 2);
    Gradient {
        dx: down(2) - down(0),
        dy: across(2) - across(0),
    }
}

/// Ridges of the magnitude above the lower threshold that hang together with one above the upper threshold.
fn edges(gradients: &Gradients, low: u32, high: u32) -> GrayImage {
    let clamped = |threshold: u32| threshold.min(u32::from(u16::MAX)) as i32;
    let (low, high) = (clamped(low.min(high)), clamped(low.max(high)));
    let (width, height) = (gradients.width, gradients.height);
    let mut ridge = vec![false; width * height];
    let mut edges = GrayImage::new(width as u32, height as u32);
    let mut reached = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let magnitude = gradients.pixels[y * width + x].magnitude();
        if magnitude > low && is_ridge(gradients, x, y) {
            ridge[y * width + x] = true;
            if magnitude > high {
                edges.put_pixel(x as u32, y as u32, Luma([255]));
                reached.push((x, y));
            }
        }
    }
    while let Some((x, y)) = reached.pop() {
        for y in y.saturating_sub(1)..(y + 2).min(height) {
            for x in x.saturating_sub(1)..(x + 2).min(width) {
                let edge = edges.get_pixel_mut(x as u32, y as u32);
                if ridge[y * width + x] && edge.0 == [0] {
                    *edge = Luma([255]);
                    reached.push((x, y));
                }
            }
        }
    }
    edges
}

/// Fractional bits of the tangents.
const TANGENT_BITS: u32 = 15;

/// tan 22.5 degrees with [`TANGENT_BITS`] fractional bits; tan 67.5 degrees is 2 more.
const TANGENT_22: i32 = 13573;

/// Whether the magnitude is largest here along the gradient's direction, rounded to 45 degrees. Of two equal neighbours
/// along a row or column the first one is the ridge.
fn is_ridge(gradients: &Gradients, x: usize, y: usize) -> bool {
    let Gradient { dx, dy } = gradients.pixels[y * gradients.width + x];
    let here = dx.abs() + dy.abs();
    let (x, y) = (x as isize, y as isize);
    let at = |right: isize, down: isize| gradients.magnitude(x + right, y + down);
    let steep = dy.abs() << TANGENT_BITS;
    let flat = dx.abs() * TANGENT_22;
    if steep < flat {
        here > at(-1, 0) && here >= at(1, 0)
    } else if steep > flat + (dx.abs() << (TANGENT_BITS + 1)) {
        here > at(0, -1) && here >= at(0, 1)
    } else {
        let side = if (dx ^ dy) < 0 { -1 } else { 1 };
        here > at(-side, -1) && here > at(side, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;

    fn any_picture() -> impl Strategy<Value = RgbImage> {
        (1u32..16, 1u32..16).prop_flat_map(|(width, height)| {
            prop::collection::vec(any::<u8>(), (width * height * 3) as usize)
                .prop_map(move |bytes| RgbImage::from_raw(width, height, bytes).unwrap())
        })
    }

    proptest! {
        #[test]
        fn a_lower_threshold_never_loses_an_edge(picture in any_picture(), low in 0u32..400, less in 0u32..400, high in 400u32..900) {
            let few = canny(&picture, low, high);
            let many = canny(&picture, low.saturating_sub(less), high);
            prop_assert!(few.pixels().zip(many.pixels()).all(|(few, many)| few.0 <= many.0));
        }

        #[test]
        fn the_order_of_thresholds_does_not_matter(picture in any_picture(), one in 0u32..900, two in 0u32..900) {
            prop_assert_eq!(canny(&picture, one, two), canny(&picture, two, one));
        }
    }

    #[test]
    fn a_step_is_an_edge_of_one_pixel() {
        let picture = RgbImage::from_fn(12, 9, |x, _| Rgb([if x < 6 { 10 } else { 200 }; 3]));
        let edges = canny(&picture, LOW_THRESHOLD, HIGH_THRESHOLD);
        for y in 0..9 {
            let row: Vec<u32> = (0..12).filter(|x| edges.get_pixel(*x, y).0 == [255]).collect();
            assert_eq!(row, [5], "row {y}");
        }
    }

    #[test]
    fn a_plain_picture_and_an_empty_one_have_no_edges() {
        let plain = canny(&RgbImage::from_pixel(9, 7, Rgb([90, 20, 250])), 0, 0);
        assert!(plain.pixels().all(|pixel| pixel.0 == [0]));
        assert_eq!(canny(&RgbImage::new(0, 3), 1, 2).dimensions(), (0, 3));
    }
}

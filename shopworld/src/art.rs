//! The shop's drawings: product cut-outs and prop stamps, as layers of simple shapes with smooth edges.
//!
//! Drawings are functions of the plane, so they look the same at every resolution.

mod shape;
mod silhouettes;
mod stamps;

pub(crate) use shape::{Colour, floor, length, mix, rgb};
pub(crate) use stamps::STAMPS;

use image::{Rgba, RgbaImage};
use shape::{Ink, Layer, Point};
use silhouettes::SILHOUETTES;

/// How one product looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProductLook {
    /// Index of its category, which decides the silhouette.
    pub(crate) category: usize,
    /// Its main colour.
    pub(crate) colour: [u8; 3],
    /// Index of its pattern.
    pub(crate) pattern: usize,
    /// Share of the canvas width the silhouette takes.
    pub(crate) width: f32,
    /// Share of the canvas height the silhouette takes.
    pub(crate) height: f32,
    /// Whether left and right are exchanged.
    pub(crate) mirrored: bool,
}

/// Draws a product's cut-out, `size` pixels square.
pub(crate) fn draw_product(look: &ProductLook, size: u32) -> RgbaImage {
    let base = rgb(look.colour);
    let sign = if look.mirrored { -1.0 } else { 1.0 };
    let (half, pixel) = (size as f32 / 2.0, 2.0 / size as f32);
    RgbaImage::from_fn(size, size, |x, y| {
        let across = |i: u32, share: f32| ((i as f32 + 0.5) / half - 1.0) / share;
        let point = [sign * across(x, look.width), across(y, look.height)];
        let patterned = |shade: f32| {
            lit(
                patterned(base, look.pattern, point),
                shade * (1.06 - 0.14 * sign * point[0]),
            )
        };
        let (colour, alpha) = shade(SILHOUETTES[look.category], point, pixel, patterned);
        let [r, g, b] = colour.map(byte);
        Rgba([r, g, b, byte(alpha)])
    })
}

/// Colour and coverage of layered shapes at a point. `base` gives the colour of inks that follow the product's colour.
pub(crate) fn shade(
    layers: &[Layer],
    point: Point,
    pixel: f32,
    base: impl Fn(f32) -> Colour,
) -> (Colour, f32) {
    let (mut colour, mut alpha) = ([0.0; 3], 0.0);
    for layer in layers {
        let coverage = layer.shape.coverage(point, pixel);
        if coverage > 0.0 {
            let ink = match layer.ink {
                Ink::Base(shade) => base(shade),
                Ink::Flat(colour) => rgb(colour),
            };
            let total = coverage + alpha * (1.0 - coverage);
            colour = mix(colour, ink, coverage / total);
            alpha = total;
        }
    }
    (colour, alpha)
}

/// The product's colour at a point of a pattern: plain, striped, dotted or checked.
fn patterned(base: Colour, pattern: usize, [x, y]: Point) -> Colour {
    let cell = |t: f32, period: f32| t / period - floor(t / period) - 0.5;
    let marked = match pattern {
        1 => cell(x + y, 0.36) > 0.05,
        2 => length(cell(x, 0.32), cell(y, 0.32)) < 0.27,
        3 => (cell(x, 0.44) > 0.0) != (cell(y, 0.44) > 0.0),
        _ => false,
    };
    let luma = (base[0] + base[1] + base[2]) / 3.0;
    let contrast = if luma > 0.45 {
        lit(base, 0.68)
    } else {
        mix(base, [1.0; 3], 0.38)
    };
    if marked { contrast } else { base }
}

fn lit(colour: Colour, gain: f32) -> Colour {
    colour.map(|channel| (channel * gain).min(1.0))
}

fn byte(value: f32) -> u8 {
    (value * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{CATEGORIES, COLOURS, PATTERNS, PROPS};
    use image::{Rgb, RgbImage};

    fn look(category: usize, colour: usize, pattern: usize) -> ProductLook {
        let colour = COLOURS[colour].1;
        ProductLook {
            category,
            colour,
            pattern,
            width: 1.0,
            height: 1.0,
            mirrored: false,
        }
    }

    fn difference(a: &RgbaImage, b: &RgbaImage) -> f64 {
        let sum: u64 = a
            .iter()
            .zip(b.iter())
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        sum as f64 / a.len() as f64
    }

    #[test]
    fn every_category_and_prop_has_its_drawing() {
        assert_eq!(SILHOUETTES.len(), CATEGORIES.len());
        assert_eq!(STAMPS.len(), PROPS.len());
    }

    #[test]
    fn categories_colours_and_patterns_can_be_told_apart() {
        for other in 1..CATEGORIES.len() {
            assert!(
                difference(
                    &draw_product(&look(0, 0, 0), 32),
                    &draw_product(&look(other, 0, 0), 32)
                ) > 10.0
            );
        }
        for category in 0..CATEGORIES.len() {
            let first = draw_product(&look(category, 0, 0), 32);
            for colour in 1..COLOURS.len() {
                assert!(difference(&first, &draw_product(&look(category, colour, 0), 32)) > 3.0);
            }
            for pattern in 1..PATTERNS.len() {
                assert!(difference(&first, &draw_product(&look(category, 0, pattern), 32)) > 1.0);
            }
        }
    }

    #[test]
    fn a_drawing_looks_the_same_at_every_resolution() {
        for category in 0..CATEGORIES.len() {
            let on_grey = |size: u32| {
                let grey = RgbImage::from_pixel(size, size, Rgb([128; 3]));
                data::cutout::composite(&grey, &draw_product(&look(category, 1, 0), size))
            };
            let (small, shrunk) = (on_grey(24), image::imageops::thumbnail(&on_grey(96), 24, 24));
            let sum: u64 = small
                .iter()
                .zip(shrunk.iter())
                .map(|(a, b)| u64::from(a.abs_diff(*b)))
                .sum();
            assert!(
                (sum as f64) < 5.0 * small.len() as f64,
                "category {category}: {sum}"
            );
        }
    }
}

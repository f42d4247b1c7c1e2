//! Renders a description around a product: scene, surface, light and palette as smooth functions of the plane, the prop as
//! three stamps, then pixel noise, then the product over all of it.
//!
//! The picture is the same at every resolution, but for the noise. A slot that was not understood stays grey.

mod light;
mod palette;
mod pattern;
mod prop;
mod scene;
mod shadow;
mod surface;

use crate::{
    art::Colour,
    description::{ParsedDescription, Slot},
    stream::{Part, stream},
};
use common::{InvalidConfig, SettingsCheck};
use data::{GenerateError, GeneratedImage, ImageGenerator, NoImage, cutout};
use image::{Rgb, RgbImage, RgbaImage};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Where the surface begins, as a share of the height from the top.
const HORIZON: f32 = 0.64;

/// How pictures are rendered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RendererConfig {
    /// Side of the picture in pixels, 8 to 4096. Default 48: 36 patches of 8 pixels for the tiny networks.
    pub size: u32,
    /// Standard deviation of the pixel noise of the background, as a share of full brightness, 0 to 1. Default 4/255.
    pub noise: f32,
}

impl Default for RendererConfig {
    fn default() -> Self {
        Self {
            size: 48,
            noise: 4.0 / 255.0,
        }
    }
}

/// The shop's image generator.
#[derive(Debug, Clone)]
pub struct Renderer {
    config: RendererConfig,
}

impl Renderer {
    /// A renderer of `config`.
    ///
    /// # Errors
    /// [`InvalidConfig`] when a field is out of range.
    pub fn new(config: RendererConfig) -> Result<Self, InvalidConfig> {
        let mut check = SettingsCheck::default();
        check.within("size", config.size, 8..=4096, "pixels");
        check.within("noise", config.noise, 0.0..=1.0, "");
        check.finish().map(|()| Self { config })
    }

    /// How it renders.
    pub fn config(&self) -> &RendererConfig {
        &self.config
    }

    /// The background without noise, row by row; black where the placed product hides it.
    fn background(&self, description: &ParsedDescription, placed: &RgbaImage) -> Vec<Colour> {
        let size = self.config.size;
        let pixel = 1.0 / size as f32;
        let at = |i: u32| (i as f32 + 0.5) * pixel;
        let [scene, surface, light, prop, palette] = Slot::ALL.map(|slot| description.value(slot));
        let mut colours = vec![[0.0; 3]; (size * size) as usize];
        for ((colour, product), index) in colours.iter_mut().zip(placed.pixels()).zip(0..) {
            if product.0[3] == 255 {
                continue; // The product hides it: a third of the picture need not be drawn.
            }
            let (u, v) = (at(index % size), at(index / size));
            let bare = if v + 0.5 * pixel > HORIZON {
                surface::colour(surface, u, v)
            } else {
                scene::colour(scene, u, v, pixel)
            };
            *colour = palette::tint(palette, light::lit(light, bare, u, v));
        }
        shadow::cast(&mut colours, placed);
        prop::stamp(prop, &mut colours, size);
        colours
    }
}

impl ImageGenerator for Renderer {
    fn name(&self) -> &str {
        "shopworld"
    }

    fn generate(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        noise_seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        let placed = cutout::golden_ratio_zoom(product, self.config.size)?;
        let render = |description: &String| {
            let description = ParsedDescription::parse(description);
            let colours = self.background(&description, &placed);
            let background = noisy(&colours, self.config.size, self.config.noise, noise_seed);
            Ok(GeneratedImage {
                image: cutout::composite(&background, &placed),
                placed: None,
                defects: description.defects(),
            })
        };
        Ok(descriptions.iter().map(render).collect())
    }
}

/// Rounds to bytes (the conversion saturates), with nearly Gaussian noise: the sum of four uniform bytes, whose variance is (256^2 - 1) / 3.
fn noisy(colours: &[Colour], size: u32, deviation: f32, seed: u64) -> RgbImage {
    let mut rng = stream(seed, Part::PixelNoise, 0);
    let scale = deviation * 255.0 / (65_535.0f32 / 3.0).sqrt();
    let mut noise = || {
        let sum: u32 = rng.next_u32().to_le_bytes().into_iter().map(u32::from).sum();
        (sum as f32 - 510.0) * scale
    };
    let mut picture = RgbImage::new(size, size);
    for (pixel, colour) in picture.pixels_mut().zip(colours) {
        *pixel = Rgb(colour.map(|channel| (channel * 255.0 + noise() + 0.5) as u8));
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Description,
        art::{ProductLook, draw_product},
    };
    use image::{Rgba, imageops};

    fn renderer(size: u32) -> Renderer {
        Renderer::new(RendererConfig {
            size,
            ..RendererConfig::default()
        })
        .unwrap()
    }

    fn quiet(size: u32) -> Renderer {
        Renderer::new(RendererConfig { size, noise: 0.0 }).unwrap()
    }

    fn product() -> RgbaImage {
        let look = ProductLook {
            category: 2,
            colour: [60, 90, 160],
            pattern: 1,
            width: 0.9,
            height: 0.9,
            mirrored: false,
        };
        draw_product(&look, 48)
    }

    fn text(values: [usize; 5]) -> String {
        Description::new(values).unwrap().to_string()
    }

    fn render(renderer: &Renderer, description: &str, seed: u64) -> RgbImage {
        renderer
            .generate_one(&product(), description, seed)
            .unwrap()
            .image
    }

    /// The mean difference of two pictures in steps of a byte.
    fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
        let sum: u64 = a
            .iter()
            .zip(b.iter())
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        sum as f64 / a.len() as f64
    }

    #[test]
    fn equal_arguments_give_equal_pictures_and_the_seed_changes_noise_only() {
        let (renderer, description) = (renderer(48), text([4, 3, 2, 1, 0]));
        let picture = render(&renderer, &description, 7);
        assert_eq!(render(&renderer, &description, 7), picture);
        let other = difference(&render(&renderer, &description, 8), &picture);
        assert!(other > 0.5 && other < 5.0, "{other}");
    }

    #[test]
    fn noise_has_the_configured_deviation_and_is_shared_by_the_candidates_of_a_group() {
        let (noisy, quiet) = (renderer(96), quiet(96));
        let noise = |description: &str| -> Vec<i32> {
            let (with, without) = (render(&noisy, description, 3), render(&quiet, description, 3));
            with.iter()
                .zip(without.iter())
                .map(|(a, b)| i32::from(*a) - i32::from(*b))
                .collect()
        };
        let (first, second) = (noise("?"), noise("living room,?,?,?,?"));
        let background: Vec<_> = first.iter().filter(|value| **value != 0).collect();
        let square = background
            .iter()
            .map(|value| f64::from(**value).powi(2))
            .sum::<f64>()
            / background.len() as f64;
        assert!((square.sqrt() - 4.1).abs() < 0.5, "{}", square.sqrt());
        let agreeing = first
            .iter()
            .zip(&second)
            .filter(|(a, b)| a.abs_diff(**b) <= 1)
            .count();
        assert!(agreeing as f64 > 0.9 * first.len() as f64);
    }

    #[test]
    fn opaque_product_pixels_are_never_changed() {
        let placed = cutout::golden_ratio_zoom(&product(), 48).unwrap();
        for description in ["", &text([6, 9, 5, 3, 2])] {
            let picture = render(&renderer(48), description, 1);
            for (shown, product) in picture
                .pixels()
                .zip(placed.pixels())
                .filter(|(_, p)| p.0[3] == 255)
            {
                assert_eq!(shown.0, product.0[..3]);
            }
        }
    }

    #[test]
    fn every_value_of_every_slot_looks_different_from_every_other() {
        let quiet = quiet(48);
        for slot in Slot::ALL {
            let mut pictures = vec![render(
                &quiet,
                &text([1, 1, 1, 1, 1]).replace(slot.values()[1], "?"),
                0,
            )];
            for value in 0..slot.values().len() {
                let mut values = [1; 5];
                values[slot as usize] = value;
                let picture = render(&quiet, &text(values), 0);
                for (earlier, other) in pictures.iter().enumerate() {
                    let found = difference(&picture, other);
                    let wanted = if slot == Slot::Prop { 1.0 } else { 3.0 };
                    assert!(found > wanted, "{slot:?} {value} and {earlier}: {found}");
                }
                pictures.push(picture);
            }
        }
    }

    #[test]
    fn slots_that_were_not_understood_are_grey_and_counted() {
        let picture = |text: &str| quiet(48).generate_one(&product(), text, 0).unwrap();
        let grey = picture("nothing at all");
        assert_eq!(grey.defects, 5);
        let corner = grey.image.get_pixel(0, 0).0;
        assert!(corner[0] == corner[1] && corner[1] == corner[2]);
        assert_eq!(picture(&text([0, 1, 2, 3, 4])).defects, 0);
        assert_eq!(picture("living room, oak desk, soft light, balloons").defects, 1);
    }

    #[test]
    fn a_picture_is_the_same_at_every_resolution() {
        for values in [
            [0, 0, 0, 0, 0],
            [7, 5, 3, 11, 2],
            [12, 8, 1, 6, 6],
            [9, 3, 4, 14, 1],
        ] {
            let small = render(&quiet(48), &text(values), 0);
            let large = render(&quiet(192), &text(values), 0);
            let shrunk = imageops::thumbnail(&large, 48, 48);
            let other = render(&quiet(48), &text(values.map(|value| (value + 3) % 6)), 0);
            let (found, limit) = (difference(&small, &shrunk), 0.35 * difference(&small, &other));
            assert!(found < limit, "{values:?}: {found} of {limit}");
        }
    }

    #[test]
    fn cutouts_of_any_size_are_placed_and_empty_ones_refused() {
        for (width, height) in [(1, 1), (5000, 3), (2, 700), (800, 800)] {
            let cutout = RgbaImage::from_pixel(width, height, Rgba([10, 200, 30, 255]));
            let picture = renderer(48)
                .generate_one(&cutout, &text([0; 5]), 0)
                .unwrap()
                .image;
            assert_eq!(picture.dimensions(), (48, 48));
            assert_eq!(picture.get_pixel(23, 23).0, [10, 200, 30], "{width}x{height}");
        }
        for cutout in [RgbaImage::new(20, 20), RgbaImage::new(0, 0)] {
            assert!(matches!(
                renderer(48).generate_one(&cutout, "", 0),
                Err(GenerateError::Product(_))
            ));
        }
    }

    #[test]
    fn a_renderer_without_pixels_is_refused_with_all_mistakes() {
        let error = Renderer::new(RendererConfig { size: 0, noise: -1.0 }).unwrap_err();
        assert_eq!(error.problems.len(), 2);
    }
}

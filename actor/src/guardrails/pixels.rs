//! What is measured on one picture: that something was painted, and that the product stands in it as it is.

use super::{GuardrailsConfig, Guards, Shown};
use common::{Barred, Guardrail};
use data::GeneratedImage;
use image::RgbaImage;
use imaging::{
    ImagingError,
    guardrails::{blank::backdrop, halo::halo, leakage::leakage, visibility::visibility},
};
use serde::Serialize;

/// What the guardrails of single pictures measure, and whether it is within their bounds. Units are those of docs/images.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measures {
    /// The background; `None` where the product leaves nothing of it.
    pub blank: Option<Blank>,
    /// The product; `None` where the generator does not tell where it stands.
    #[serde(flatten)]
    pub product: Option<ProductMeasures>,
}

/// Whether something was painted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Blank {
    /// Whether it is within the bounds.
    pub passed: bool,
    /// Deviation of the background's luma.
    pub spread: f64,
    /// The share of it near black.
    pub black_share: f64,
}

/// Whether the product is shown as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProductMeasures {
    /// Its opaque pixels.
    pub leakage: Leakage,
    /// Its soft edge.
    pub halo: Halo,
    /// How it stands out.
    pub visibility: Visibility,
}

/// Whether the product's opaque pixels are as they were.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leakage {
    /// Whether it is within the bound.
    pub passed: bool,
    /// The share that changed.
    pub changed: f64,
}

/// Whether the product has a rim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Halo {
    /// Whether it is within the bound.
    pub passed: bool,
    /// How far the soft edge lies outside the colours around it.
    pub excess: f64,
}

/// Whether the product can be seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Visibility {
    /// Whether it is within the bounds.
    pub passed: bool,
    /// Its share of the canvas.
    pub area_share: f64,
    /// The contrast along its outline, where it has one.
    pub contrast: Option<f64>,
    /// The share of the outline that stands out, where it has one.
    pub distinct_share: Option<f64>,
}

impl Measures {
    /// Measures a picture.
    ///
    /// # Errors
    /// [`ImagingError`] when picture and placed product do not belong together.
    pub fn of(picture: &GeneratedImage, bounds: &GuardrailsConfig) -> Result<Self, ImagingError> {
        let (image, placed) = (&picture.image, picture.placed.as_ref());
        let nowhere;
        let around = match placed {
            Some(placed) => placed,
            None => {
                nowhere = RgbaImage::new(image.width(), image.height());
                &nowhere
            }
        };
        let blank = backdrop(image, around)?.map(|found| Blank {
            passed: found.spread >= bounds.min_spread && found.black_share <= bounds.max_black_share,
            spread: found.spread,
            black_share: found.black_share,
        });
        let product = placed.map(|placed| ProductMeasures::of(picture, placed, bounds));
        Ok(Self {
            blank,
            product: product.transpose()?,
        })
    }

    /// The first that is not within its bounds.
    fn barred(&self, bounds: &GuardrailsConfig) -> Option<Barred> {
        let barred = |guardrail, measured| Barred {
            guardrail,
            measured: Some(measured),
        };
        if let Some(blank) = self.blank.as_ref().filter(|blank| !blank.passed) {
            let is_flat = blank.spread < bounds.min_spread;
            let measured = if is_flat { blank.spread } else { blank.black_share };
            return Some(barred(Guardrail::Blank, measured));
        }
        let ProductMeasures {
            leakage,
            halo,
            visibility,
        } = self.product.as_ref()?;
        if !leakage.passed {
            return Some(barred(Guardrail::Leakage, leakage.changed));
        }
        if !halo.passed {
            return Some(barred(Guardrail::Halo, halo.excess));
        }
        let is_small = visibility.area_share < bounds.min_product_area;
        let outline = visibility.distinct_share.filter(|_| !is_small);
        let measured = outline.unwrap_or(visibility.area_share);
        (!visibility.passed).then(|| barred(Guardrail::Visibility, measured))
    }
}

impl ProductMeasures {
    fn of(
        picture: &GeneratedImage,
        placed: &RgbaImage,
        bounds: &GuardrailsConfig,
    ) -> Result<Self, ImagingError> {
        let image = &picture.image;
        let (leaked, rim, seen) = (
            leakage(image, placed)?,
            halo(image, placed)?,
            visibility(image, placed)?,
        );
        let is_distinct = |share| share >= bounds.min_distinct_outline;
        Ok(Self {
            leakage: Leakage {
                passed: leaked.changed <= bounds.max_changed,
                changed: leaked.changed,
            },
            halo: Halo {
                passed: rim.excess <= bounds.max_halo,
                excess: rim.excess,
            },
            visibility: Visibility {
                passed: seen.area_share >= bounds.min_product_area
                    && seen.distinct_share.is_none_or(is_distinct),
                area_share: seen.area_share,
                contrast: seen.contrast,
                distinct_share: seen.distinct_share,
            },
        })
    }
}

/// The guardrails of single pictures.
#[derive(Debug)]
pub(super) struct Pixels {
    bounds: GuardrailsConfig,
}

impl Pixels {
    /// Within the bounds of a configuration.
    pub(super) fn new(config: &GuardrailsConfig) -> Self {
        Self {
            bounds: config.clone(),
        }
    }
}

impl Guards for Pixels {
    fn of_picture(&self, shown: &Shown<'_>) -> Result<Option<Barred>, ImagingError> {
        let measures = Measures::of(shown.generated, &self.bounds)?;
        Ok(measures.barred(&self.bounds))
    }
}

//! What is measured on a finished picture.

use ::actor::GuardrailsConfig;
use anyhow::Context as _;
use data::GeneratedImage;
use imaging::guardrails::{
    blank::{Backdrop, backdrop},
    halo::halo,
    leakage::leakage,
    visibility::visibility,
};
use serde::Serialize;

/// Each guardrail that looks at pixels: what it measured and whether that is within its bound of
/// `[actor.guardrails]`. Units are those of
/// docs/images.md.
#[derive(Debug, Serialize)]
pub(super) struct Measures {
    blank: Option<Blank>,
    halo: Halo,
    leakage: Leakage,
    visibility: Visibility,
}

#[derive(Debug, Serialize)]
struct Blank {
    passed: bool,
    spread: f64,
    black_share: f64,
}

#[derive(Debug, Serialize)]
struct Halo {
    passed: bool,
    excess: f64,
}

#[derive(Debug, Serialize)]
struct Leakage {
    passed: bool,
    changed: f64,
}

#[derive(Debug, Serialize)]
struct Visibility {
    passed: bool,
    area_share: f64,
    contrast: Option<f64>,
    distinct_share: Option<f64>,
}

impl Measures {
    /// Measures a picture whose generator told where the product stands.
    pub(super) fn of(picture: &GeneratedImage, bounds: &GuardrailsConfig) -> anyhow::Result<Self> {
        let placed = picture
            .placed
            .as_ref()
            .context("the generator did not place the product")?;
        let image = &picture.image;
        let blank = |backdrop: Backdrop| Blank {
            passed: backdrop.spread >= bounds.min_spread && backdrop.black_share <= bounds.max_black_share,
            spread: backdrop.spread,
            black_share: backdrop.black_share,
        };
        let (rim, leaked, seen) = (
            halo(image, placed)?,
            leakage(image, placed)?,
            visibility(image, placed)?,
        );
        Ok(Self {
            blank: backdrop(image, placed)?.map(blank),
            halo: Halo {
                passed: rim.excess <= bounds.max_halo,
                excess: rim.excess,
            },
            leakage: Leakage {
                passed: leaked.changed <= bounds.max_changed,
                changed: leaked.changed,
            },
            visibility: Visibility {
                passed: seen.area_share >= bounds.min_product_area
                    && seen
                        .distinct_share
                        .is_none_or(|share| share >= bounds.min_distinct_outline),
                area_share: seen.area_share,
                contrast: seen.contrast,
                distinct_share: seen.distinct_share,
            },
        })
    }
}

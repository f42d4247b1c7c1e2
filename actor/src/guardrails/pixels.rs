//! What is measured on one picture: that something was painted, and that the product stands in it as it is.

use super::{GuardrailsConfig, Guards, Shown};
use common::{Barred, Guardrail};
use image::RgbaImage;
use imaging::{
    ImagingError,
    guardrails::{blank::backdrop, halo::halo, leakage::leakage, visibility::visibility},
};

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

    /// Measures the spread of luma, or the share of black when it is that.
    fn blank(&self, shown: &Shown<'_>) -> Result<Option<Barred>, ImagingError> {
        let picture = &shown.generated.image;
        let found = match &shown.generated.placed {
            Some(placed) => backdrop(picture, placed)?,
            None => backdrop(picture, &RgbaImage::new(picture.width(), picture.height()))?,
        };
        Ok(found.and_then(|found| {
            let spread = barred(
                Guardrail::Blank,
                found.spread,
                found.spread < self.bounds.min_spread,
            );
            let too_black = found.black_share > self.bounds.max_black_share;
            spread.or(barred(Guardrail::Blank, found.black_share, too_black))
        }))
    }

    /// Measures the share of changed pixels, the rim in levels of 255, the share of outline that stands out, or the product's share of
    /// the canvas.
    fn product(&self, shown: &Shown<'_>, placed: &RgbaImage) -> Result<Option<Barred>, ImagingError> {
        let (picture, bounds) = (&shown.generated.image, &self.bounds);
        let changed = leakage(picture, placed)?.changed;
        if changed > bounds.max_changed {
            return Ok(barred(Guardrail::Leakage, changed, true));
        }
        let excess = halo(picture, placed)?.excess;
        if excess > bounds.max_halo {
            return Ok(barred(Guardrail::Halo, excess, true));
        }
        let seen = visibility(picture, placed)?;
        let hidden = |share: f64, least: f64| barred(Guardrail::Visibility, share, share < least);
        let small = hidden(seen.area_share, bounds.min_product_area);
        let outline = seen.distinct_share;
        Ok(small.or_else(|| hidden(outline?, bounds.min_distinct_outline)))
    }
}

impl Guards for Pixels {
    fn of_picture(&self, shown: &Shown<'_>) -> Result<Option<Barred>, ImagingError> {
        match (self.blank(shown)?, &shown.generated.placed) {
            (None, Some(placed)) => self.product(shown, placed),
            (blank, _) => Ok(blank),
        }
    }
}

fn barred(guardrail: Guardrail, measured: f64, is_so: bool) -> Option<Barred> {
    let measured = Some(measured);
    is_so.then_some(Barred { guardrail, measured })
}

//! From a cut-out to what is painted on, and from what was painted to the finished picture.

use super::config::{DiffusionConfig, Placing};
use data::CutoutError;
use image::{RgbImage, RgbaImage};
use imaging::{
    ImagingError,
    composite::composite,
    control::control_image,
    masks::{latent_repaint_mask, repaint_mask},
    placement::{self, Place},
    soft_edge::held_background,
};
use models::ModelError;
use models::diffusion::pipeline::Canvas;

/// A product in its place.
pub(super) struct Composition {
    /// The product on a transparent canvas.
    pub(super) placed: RgbaImage,
    /// What the networks see.
    pub(super) canvas: Canvas,
    placing: Placing,
}

/// A product that cannot be placed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompositionError {
    /// The cut-out is at fault.
    #[error(transparent)]
    Cutout(#[from] CutoutError),
    /// The canvas is.
    #[error(transparent)]
    Imaging(ImagingError),
    /// The canvas is.
    #[error(transparent)]
    Canvas(#[from] ModelError),
}

impl From<ImagingError> for CompositionError {
    fn from(error: ImagingError) -> Self {
        match error {
            ImagingError::Transparent { width, height } => {
                Self::Cutout(CutoutError::Transparent { width, height })
            }
            other => Self::Imaging(other),
        }
    }
}

impl Composition {
    /// Places a cut-out.
    pub(super) fn new(cutout: &RgbaImage, config: &DiffusionConfig) -> Result<Self, CompositionError> {
        let (width, height, scale) = (config.width as u32, config.height as u32, config.image_scale);
        let place = config.region().map_or(Place::Centred(scale), Place::Within);
        let placed = match config.placing {
            Placing::Premultiplied => placement::place(cutout, width, height, place)?,
            Placing::Compat => placement::compat::place(cutout, width, height, scale)?,
        };
        let repaint = repaint_mask(&placed);
        let canvas = Canvas::new(
            init(&placed, config.placing)?,
            latent_repaint_mask(&repaint),
            control_image(&placed),
        )?;
        Ok(Self {
            placed,
            canvas,
            placing: config.placing,
        })
    }

    /// The product over what was painted: every fully opaque pixel is the product's. What lies under its soft edge is held within
    /// the colours of the background around it, unless the reference is followed.
    pub(super) fn finish(&self, painted: &RgbImage) -> Result<RgbImage, ImagingError> {
        match self.placing {
            Placing::Premultiplied => composite(&held_background(painted, &self.placed)?, &self.placed),
            Placing::Compat => composite(painted, &self.placed),
        }
    }
}

/// The product on black; with the reference, its colours as they lie, soft edges and hidden colours at full strength.
fn init(placed: &RgbaImage, placing: Placing) -> Result<RgbImage, ImagingError> {
    match placing {
        Placing::Premultiplied => composite(&RgbImage::new(placed.width(), placed.height()), placed),
        Placing::Compat => Ok(RgbImage::from_fn(placed.width(), placed.height(), |x, y| {
            let [red, green, blue, _] = placed.get_pixel(x, y).0;
            image::Rgb([red, green, blue])
        })),
    }
}

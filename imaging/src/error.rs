//! What can be wrong with the pictures and numbers that this crate is given.

use crate::region::Region;

/// Why a picture cannot be worked on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImagingError {
    /// A side of a picture is 0.
    #[error("{what} is {width}x{height} pixels: both sides must be at least 1")]
    Empty {
        /// Which picture.
        what: &'static str,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// Nothing of the product is visible.
    #[error("no pixel of the {width}x{height} cut-out has an alpha of at least 128")]
    Transparent {
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// A product that would take nothing of the canvas, or more than all of it.
    #[error("image scale {scale}: it must be above 0 and at most 1")]
    Scale {
        /// The share of the canvas that was asked for.
        scale: f64,
    },
    /// A box that does not lie on the canvas.
    #[error(
        "a box of {}x{} pixels at ({}, {}) does not lie on a canvas of {width}x{height}",
        region.width, region.height, region.left, region.top
    )]
    OutsideCanvas {
        /// The box.
        region: Region,
        /// The canvas's width in pixels.
        width: u32,
        /// The canvas's height in pixels.
        height: u32,
    },
    /// A product so thin that a side rounds to no pixel; the reference fails on it too.
    #[error("a product of {width}x{height} pixels is too thin: scaled, a side has no pixel left")]
    TooThin {
        /// The width of what was to be placed, in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// Two pictures that belong together differ in size.
    #[error("{what} is {}x{} pixels, not {}x{} as the product's canvas", found.0, found.1, expected.0, expected.1)]
    SizesDiffer {
        /// Which picture.
        what: &'static str,
        /// Its width and height in pixels.
        found: (u32, u32),
        /// The canvas's width and height in pixels.
        expected: (u32, u32),
    },
}

/// Refuses a picture of another size than the canvas; `what` names it.
pub(crate) fn same_size(
    what: &'static str,
    found: (u32, u32),
    expected: (u32, u32),
) -> Result<(), ImagingError> {
    if found != expected {
        return Err(ImagingError::SizesDiffer {
            what,
            found,
            expected,
        });
    }
    Ok(())
}

/// Refuses a picture without pixels; `what` names it.
pub(crate) fn not_empty(what: &'static str, (width, height): (u32, u32)) -> Result<(), ImagingError> {
    if width == 0 || height == 0 {
        return Err(ImagingError::Empty { what, width, height });
    }
    Ok(())
}

//! A part of a picture, and the part that shows a product.

use image::RgbaImage;

/// The least alpha with which a pixel counts as the product's: half opaque, rounded up.
pub(crate) const VISIBLE: u8 = 128;

/// The least alpha with which a pixel shows the product's colour: at most a fiftieth of it is background. Tools that cut
/// products out leave whole bodies at 250 to 254.
pub(crate) const SOLID: u8 = 250;

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its first column.
    pub left: u32,
    /// Its first row.
    pub top: u32,
    /// How many columns it has.
    pub width: u32,
    /// How many rows it has.
    pub height: u32,
}

impl Region {
    /// The whole of a picture.
    pub fn whole(picture: &RgbaImage) -> Self {
        Self {
            left: 0,
            top: 0,
            width: picture.width(),
            height: picture.height(),
        }
    }

    /// The smallest part that has every pixel with an alpha of at least 128, last row and column included; none when there is
    /// no such pixel.
    pub fn of_product(cutout: &RgbaImage) -> Option<Self> {
        let (width, height) = cutout.dimensions();
        let (mut left, mut top, mut right, mut bottom) = (width, height, 0, 0);
        let visible = |pixel: &[u8]| pixel[3] >= VISIBLE;
        for (y, row) in (0..height).zip(cutout.as_raw().chunks_exact(width.max(1) as usize * 4)) {
            let first = row.chunks_exact(4).position(visible);
            let last = row.chunks_exact(4).rposition(visible);
            if let (Some(first), Some(last)) = (first, last) {
                (left, right) = (left.min(first as u32), right.max(last as u32 + 1));
                (top, bottom) = (top.min(y), y + 1);
            }
        }
        (left < right).then(|| Self {
            left,
            top,
            width: right - left,
            height: bottom - top,
        })
    }

    pub(crate) fn lies_on(self, width: u32, height: u32) -> bool {
        let within = |from: u32, length: u32, side: u32| {
            length > 0 && from.checked_add(length).is_some_and(|end| end <= side)
        };
        within(self.left, self.width, width) && within(self.top, self.height, height)
    }
}

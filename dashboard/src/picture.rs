//! Pictures as browsers get them. Whatever the store holds is decoded within limits and written anew as PNG: nothing that merely
//! claims to be a picture reaches a browser, and nothing that hides in one.

use bytes::Bytes;
use image::{ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// Most bytes of a stored picture that is shown.
pub const MOST_BYTES: usize = 32 << 20;

/// Longest side, in pixels.
const MOST_SIDE: u32 = 4096;

/// Most bytes that decoding may take.
const MOST_ALLOCATED: u64 = 128 << 20;

/// Longest side of a small one, in pixels: twice what is shown, for dense screens.
pub(crate) const SMALL: u32 = 240;

/// What is no picture that can be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPicture {
    /// It is too large.
    #[error("the picture has {0} bytes, at most {MOST_BYTES} are shown")]
    TooLarge(usize),
    /// It is none.
    #[error("what the store holds is no picture that can be shown")]
    Unreadable(#[source] image::ImageError),
}

/// A picture as PNG, no side longer than `most` where that is given. It computes: not for the async runtime.
///
/// # Errors
/// [`NoPicture`].
pub(crate) fn as_png(stored: &Bytes, most: Option<u32>) -> Result<Bytes, NoPicture> {
    if stored.len() > MOST_BYTES {
        return Err(NoPicture::TooLarge(stored.len()));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_ALLOCATED);
    let read = || {
        let mut reader = ImageReader::new(Cursor::new(stored)).with_guessed_format()?;
        reader.limits(limits);
        let decoded = reader.decode()?;
        let decoded = match most {
            Some(most) if decoded.width().max(decoded.height()) > most => decoded.thumbnail(most, most),
            _ => decoded,
        };
        let mut png = vec![];
        decoded
            .into_rgba8()
            .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)?;
        Ok(png.into())
    };
    read().map_err(NoPicture::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Bytes {
        let mut bytes = vec![];
        let picture = image::RgbImage::from_pixel(width, height, image::Rgb([200, 30, 30]));
        picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes.into()
    }

    #[test]
    fn whatever_it_was_it_leaves_as_png_and_small_where_that_is_asked_for() {
        let png = as_png(&encoded(600, 300, ImageFormat::Jpeg), Some(SMALL)).unwrap();
        let small = image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap();
        assert_eq!((small.width(), small.height()), (240, 120));
        let tiny = as_png(&encoded(40, 20, ImageFormat::Png), Some(SMALL)).unwrap();
        assert_eq!(image::load_from_memory(&tiny).unwrap().width(), 40);
    }

    #[test]
    fn what_is_no_picture_or_too_large_a_one_is_refused() {
        for bytes in [&b"<svg onload=alert(1)>"[..], b"", b"\x89PNG\r\n\x1a\n"] {
            assert!(as_png(&Bytes::from_static(bytes), None).is_err());
        }
        assert!(as_png(&encoded(MOST_SIDE + 1, 1, ImageFormat::Png), None).is_err());
        let large = Bytes::from(vec![0; MOST_BYTES + 1]);
        assert!(matches!(as_png(&large, None), Err(NoPicture::TooLarge(_))));
    }
}

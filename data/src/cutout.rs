//! Product cut-outs: decoding with limits, encoding, CAIG's placement on the canvas, and compositing.
//!
//! It does not cut products out of photographs: an image without transparency is taken as a product on pure white.

#[cfg(test)]
mod foreign_tests;
mod jpeg;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage, RgbaImage};
use imaging::{
    ImagingError, Region,
    placement::{self, Place},
};
use std::io::Cursor;

/// The longest side accepted, in pixels: a larger product photograph is a mistake or a decompression bomb.
pub const MAX_SIDE: u32 = 8192;

/// The most memory decoding may take, in bytes: one RGBA image with sides of [`MAX_SIDE`].
pub const MAX_DECODED_BYTES: u64 = 256 << 20;

/// The largest file of a picture, in bytes: one that is not compressed at all, and an eighth for what else a file has.
pub(crate) const MAX_FILE_BYTES: u64 = MAX_DECODED_BYTES / 8 * 9;

pub use imaging::placement::GOLDEN_SCALE;

/// Why a cut-out cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CutoutError {
    /// Not an image that can be read, or one beyond the limit on memory.
    #[error("not a readable PNG or JPEG of at most {MAX_SIDE}x{MAX_SIDE} pixels")]
    Undecodable(#[source] ImageError),
    /// A side is longer than [`MAX_SIDE`].
    #[error("{width}x{height} pixels are too many: make it at most {MAX_SIDE}x{MAX_SIDE}")]
    TooLarge {
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// A JPEG whose end is missing; a decoder would make up the rest.
    #[error("the JPEG is cut off: it has no end marker; copy the file again")]
    CutOff,
    /// Nothing of the product is visible.
    #[error("no pixel of the {width}x{height} cut-out has an alpha of at least 128")]
    Transparent {
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// It cannot be placed on its canvas.
    #[error("the cut-out cannot be placed")]
    Unplaceable(#[source] ImagingError),
}

impl From<ImagingError> for CutoutError {
    fn from(error: ImagingError) -> Self {
        match error {
            ImagingError::Transparent { width, height } => Self::Transparent { width, height },
            other => Self::Unplaceable(other),
        }
    }
}

/// Decodes a PNG or JPEG into a cut-out, turned as its EXIF orientation says. What the bytes are decides, not what the file is
/// called. Images without an alpha channel have their pure white pixels made transparent,
/// as CAIG's `utils.py` does.
///
/// # Errors
/// [`CutoutError::Undecodable`] for anything that is no such image or exceeds [`MAX_DECODED_BYTES`],
/// [`CutoutError::TooLarge`] for one that exceeds [`MAX_SIDE`], [`CutoutError::CutOff`] for a JPEG without its end.
pub fn decode(bytes: &[u8]) -> Result<RgbaImage, CutoutError> {
    let decoded = decode_limited(bytes)?;
    let opaque = !decoded.color().has_alpha();
    let mut image = decoded.into_rgba8();
    if opaque {
        image
            .pixels_mut()
            .filter(|pixel| pixel.0[..3] == [255; 3])
            .for_each(|pixel| pixel.0[3] = 0);
    }
    Ok(image)
}

/// Decodes a PNG or JPEG into a picture without transparency, as which finished advertisements are stored.
///
/// # Errors
/// As [`decode`].
pub fn decode_rgb(bytes: &[u8]) -> Result<RgbImage, CutoutError> {
    Ok(decode_limited(bytes)?.into_rgb8())
}

/// Encodes a cut-out as PNG. [`decode`] returns the same pixels.
pub fn encode_png(image: &RgbaImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .expect("writing a PNG to memory fails only for empty images, which no decoder returns");
    bytes
}

/// Encodes a picture without transparency as PNG. [`decode_rgb`] returns the same pixels.
pub fn encode_rgb_png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .expect("writing a PNG to memory fails only for empty images, which no decoder returns");
    bytes
}

/// Whether any of the product can be seen: a pixel with an alpha of at least 128.
pub fn is_visible(cutout: &RgbaImage) -> bool {
    Region::of_product(cutout).is_some()
}

/// Places a cut-out on a transparent square canvas of `size` pixels: its bounding box scaled so that the longer side is
/// [`GOLDEN_SCALE`] of the canvas, centred.
///
/// # Errors
/// [`CutoutError::Transparent`] when nothing of the product is visible, [`CutoutError::Unplaceable`] for a canvas without
/// pixels.
pub fn golden_ratio_zoom(cutout: &RgbaImage, size: u32) -> Result<RgbaImage, CutoutError> {
    Ok(placement::place(
        cutout,
        size,
        size,
        Place::Centred(GOLDEN_SCALE),
    )?)
}

/// Lays a placed cut-out over a background of the same size, see [`imaging::composite::composite`].
///
/// # Panics
/// When the two differ in size.
pub fn composite(background: &RgbImage, product: &RgbaImage) -> RgbImage {
    imaging::composite::composite(background, product)
        .expect("the caller gives a background of the product's size")
}

fn decode_limited(bytes: &[u8]) -> Result<DynamicImage, CutoutError> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let (width, height) = reader(bytes, limits.clone())?
        .into_dimensions()
        .map_err(CutoutError::Undecodable)?;
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(CutoutError::TooLarge { width, height });
    }
    let reader = reader(bytes, limits.clone())?;
    let whole = reader.format() != Some(ImageFormat::Jpeg) || jpeg::is_whole(bytes);
    let image = oriented(reader, limits).map_err(CutoutError::Undecodable)?;
    if whole {
        Ok(image)
    } else {
        Err(CutoutError::CutOff)
    }
}

fn reader(bytes: &[u8], limits: Limits) -> Result<ImageReader<Cursor<&[u8]>>, CutoutError> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| CutoutError::Undecodable(ImageError::IoError(error)))?;
    reader.limits(limits);
    Ok(reader)
}

/// The picture as its camera was held.
fn oriented(reader: ImageReader<Cursor<&[u8]>>, mut limits: Limits) -> Result<DynamicImage, ImageError> {
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, Rgba};
    use proptest::prelude::*;

    fn opaque(width: u32, height: u32, colour: [u8; 3]) -> RgbaImage {
        RgbaImage::from_pixel(width, height, Rgba([colour[0], colour[1], colour[2], 255]))
    }

    fn any_cutout() -> impl Strategy<Value = RgbaImage> {
        (1u32..40, 1u32..40).prop_flat_map(|(width, height)| {
            prop::collection::vec(any::<u8>(), (width * height * 4) as usize)
                .prop_map(move |bytes| RgbaImage::from_raw(width, height, bytes).unwrap())
        })
    }

    proptest! {
        #[test]
        fn a_cutout_survives_encoding(image in any_cutout()) {
            prop_assert_eq!(decode(&encode_png(&image)).unwrap(), image);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }

        /// A damaged picture is refused or read as one of a size that is allowed.
        #[test]
        fn no_damage_to_a_picture_makes_the_decoder_panic(
            jpeg in any::<bool>(),
            damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let format = if jpeg { ImageFormat::Jpeg } else { ImageFormat::Png };
            let mut bytes = encoded(format);
            for (place, byte) in &damages {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
                // What a PNG's header says is only looked at when its sum is right.
                if !jpeg && place < 29 {
                    let sum = crc(&bytes[12..29]);
                    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(picture) = decode(&bytes) {
                prop_assert!(picture.width() <= MAX_SIDE && picture.height() <= MAX_SIDE);
            }
        }

        #[test]
        fn placing_keeps_the_golden_size_and_the_centre(
            width in 1u32..200, height in 1u32..200, size in 8u32..100
        ) {
            let placed = golden_ratio_zoom(&opaque(width, height, [200, 10, 30]), size).unwrap();
            let found = Region::of_product(&placed).unwrap();
            prop_assert_eq!(found.width.max(found.height), (f64::from(size) * GOLDEN_SCALE) as u32);
            prop_assert!((2 * found.left + found.width).abs_diff(size) <= 1);
            prop_assert!((2 * found.top + found.height).abs_diff(size) <= 1);
            prop_assert!(placed.pixels().all(|p| p.0[3] == 0 || p.0 == [200, 10, 30, 255]));
        }

        #[test]
        fn any_cutout_can_be_placed_or_is_refused_as_transparent(image in any_cutout(), size in 1u32..70) {
            prop_assert_eq!(golden_ratio_zoom(&image, size).is_ok(), is_visible(&image));
        }

        #[test]
        fn opaque_pixels_stay_and_transparent_ones_show_the_background(
            product in any::<[u8; 3]>(), background in any::<[u8; 3]>()
        ) {
            let mut cutout = opaque(2, 1, product);
            cutout.get_pixel_mut(1, 0).0[3] = 0;
            let picture = composite(&RgbImage::from_pixel(2, 1, Rgb(background)), &cutout);
            prop_assert_eq!(picture.get_pixel(0, 0).0, product);
            prop_assert_eq!(picture.get_pixel(1, 0).0, background);
        }
    }

    #[test]
    fn hidden_colours_do_not_bleed_into_the_edge() {
        let mut cutout = RgbaImage::from_pixel(40, 40, Rgba([0, 255, 0, 0]));
        for (x, y) in (10..29).flat_map(|x| (10..29).map(move |y| (x, y))) {
            cutout.put_pixel(x, y, Rgba([255, 0, 0, 255]));
        }
        let placed = golden_ratio_zoom(&cutout, 13).unwrap();
        assert!(
            placed
                .pixels()
                .filter(|p| p.0[3] > 0)
                .all(|p| p.0[..3] == [255, 0, 0])
        );
    }

    #[test]
    fn extreme_shapes_keep_at_least_one_pixel() {
        for (width, height) in [(1, 1), (5000, 3), (3, 5000)] {
            let placed = golden_ratio_zoom(&opaque(width, height, [9, 9, 9]), 48).unwrap();
            assert!(is_visible(&placed), "{width}x{height}");
        }
    }

    #[test]
    fn pure_white_of_an_image_without_alpha_becomes_transparent() {
        let mut picture = RgbImage::from_pixel(3, 1, Rgb([255, 255, 255]));
        picture.put_pixel(1, 0, Rgb([254, 255, 255]));
        let cutout = decode(&encode_rgb_png(&picture)).unwrap();
        assert_eq!(cutout.pixels().map(|p| p.0[3]).collect::<Vec<_>>(), [0, 255, 0]);
    }

    #[test]
    fn an_image_with_alpha_keeps_its_white() {
        let cutout = opaque(2, 2, [255, 255, 255]);
        assert_eq!(decode(&encode_png(&cutout)).unwrap(), cutout);
    }

    /// CRC-32 as PNG defines it.
    fn crc(bytes: &[u8]) -> u32 {
        let bit = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
        !bytes.iter().fold(!0, byte)
    }

    #[test]
    fn a_png_that_claims_a_huge_size_is_refused_before_memory_is_taken() {
        let mut bytes = encode_png(&opaque(1, 1, [1, 2, 3]));
        bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let sum = crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        let refused = decode(&bytes);
        assert!(
            matches!(
                refused,
                Err(CutoutError::TooLarge {
                    width: 60_000,
                    height: 60_000
                })
            ),
            "{refused:?}"
        );
    }

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let picture = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 4) as u8, (y * 4) as u8, (x * y) as u8]));
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    #[test]
    fn a_file_without_its_end_is_refused() {
        // A PNG's last bytes are a mark and sums; a JPEG's are pixels up to the mark.
        for (format, mark) in [(ImageFormat::Png, 16), (ImageFormat::Jpeg, 2)] {
            let whole = encoded(format);
            assert!(decode(&whole).is_ok(), "{format:?}");
            for length in [0, 1, 10, whole.len() / 2, whole.len() - mark] {
                let cut_off = decode(&whole[..length]);
                assert!(cut_off.is_err(), "{format:?}: {length} of {}", whole.len());
            }
        }
    }
}

//! Pictures as other people's programs write them: each comes out right, or with one error that says what would be right.

use super::*;
use image::{ImageBuffer, Rgb, Rgba};

const CMYK: &[u8] = include_bytes!("../../fixtures/cutout/cmyk.jpg");
const PALETTE: &[u8] = include_bytes!("../../fixtures/cutout/palette.png");

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = image.into();
    image
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .unwrap();
    bytes
}

/// A JPEG of two halves, dark on the left, with an EXIF orientation.
fn jpeg_held(orientation: u8) -> Vec<u8> {
    let halves = RgbImage::from_fn(32, 16, |x, _| Rgb([if x < 16 { 10 } else { 200 }; 3]));
    let mut jpeg = Vec::new();
    halves
        .write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg)
        .unwrap();
    // One big-endian directory with one entry: tag 0x0112, a short.
    let tiff = [
        b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(),
        &[orientation, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let length = (tiff.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &tiff, &jpeg[2..]].concat()
}

#[test]
fn a_camera_s_orientation_is_applied() {
    let dark = |picture: &RgbImage, x, y| picture.get_pixel(x, y).0[0] < 100;
    let upright = decode_rgb(&jpeg_held(1)).unwrap();
    assert_eq!(upright.dimensions(), (32, 16));
    assert!(dark(&upright, 2, 8) && !dark(&upright, 29, 8));
    let turned = decode_rgb(&jpeg_held(3)).unwrap();
    assert!(!dark(&turned, 2, 8) && dark(&turned, 29, 8));
    // Turned clockwise by a quarter: the left side is above.
    let quarter = decode_rgb(&jpeg_held(6)).unwrap();
    assert_eq!(quarter.dimensions(), (16, 32));
    assert!(dark(&quarter, 8, 2) && !dark(&quarter, 8, 29));
    // A number that means nothing turns nothing.
    assert_eq!(decode_rgb(&jpeg_held(77)).unwrap(), upright);
}

#[test]
fn sixteen_bits_become_eight_and_keep_their_alpha() {
    let wide = ImageBuffer::from_pixel(2, 2, Rgba([0x8080u16, 0xFFFF, 0, 0x4040]));
    assert_eq!(
        decode(&png(wide)).unwrap().get_pixel(0, 0).0,
        [0x80, 255, 0, 0x40]
    );
    let white = ImageBuffer::from_pixel(2, 2, Rgb([0xFFFFu16; 3]));
    assert!(!is_visible(&decode(&png(white)).unwrap()));
}

#[test]
fn a_palette_with_a_transparent_colour_is_a_cutout() {
    let cutout = decode(PALETTE).unwrap();
    assert_eq!(cutout.get_pixel(0, 0).0[3], 0);
    assert_eq!(cutout.get_pixel(3, 3).0, [200, 10, 30, 255]);
}

#[test]
fn cmyk_becomes_rgb_with_its_white_transparent() {
    let cutout = decode(CMYK).unwrap();
    assert_eq!(cutout.get_pixel(0, 0).0[3], 0);
    let [red, green, blue, alpha] = cutout.get_pixel(8, 8).0;
    assert!(
        red > 245 && green < 10 && blue < 10 && alpha == 255,
        "{red} {green} {blue} {alpha}"
    );
}

#[test]
fn a_picture_that_is_too_wide_is_refused_with_its_size_and_the_limit() {
    let error = decode(&png(RgbImage::new(20_000, 3))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "20000x3 pixels are too many: make it at most 8192x8192"
    );
}

#[test]
fn an_opaque_or_an_empty_alpha_is_taken_at_its_word() {
    let opaque = RgbaImage::from_pixel(4, 3, Rgba([255, 255, 255, 255]));
    assert_eq!(
        Region::of_product(&decode(&png(opaque)).unwrap()).unwrap().width,
        4
    );
    let empty = decode(&png(RgbaImage::new(4, 3))).unwrap();
    let error = golden_ratio_zoom(&empty, 48).unwrap_err();
    assert!(matches!(error, CutoutError::Transparent { width: 4, height: 3 }));
}

#[test]
fn a_product_that_touches_the_border_keeps_all_of_its_rows_and_columns() {
    let mut cutout = RgbaImage::new(10, 6);
    (0..6).for_each(|y| cutout.put_pixel(9, y, Rgba([9, 9, 9, 255])));
    (0..10).for_each(|x| cutout.put_pixel(x, 5, Rgba([9, 9, 9, 255])));
    let found = Region::of_product(&cutout).unwrap();
    assert_eq!((found.left, found.top, found.width, found.height), (0, 0, 10, 6));
}

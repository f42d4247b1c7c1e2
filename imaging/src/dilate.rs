//! Grey dilation with a square of ones, equal to OpenCV's `dilate`: the anchor is the square's middle (`side / 2`), and what lies
//! outside the picture never wins.
//!
//! The square is separable, and along a line the running maximum takes three comparisons a pixel whatever the square's
//! side (van Herk 1992; Gil and Werman 1993).

use image::GrayImage;

/// The largest value under a square of `side` pixels around each pixel. An even square reaches one pixel further to the
/// left and above: with 20 it covers -10 to +9. A side of 0 or 1 changes nothing.
pub fn dilate(picture: &GrayImage, side: u32) -> GrayImage {
    let before = side as usize / 2;
    let after = (side as usize).saturating_sub(before + 1);
    maximum(picture, before, after)
}

/// The largest value from `before` pixels to the left and above up to `after` pixels to the right and below.
pub(crate) fn maximum(picture: &GrayImage, before: usize, after: usize) -> GrayImage {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width == 0 || height == 0 {
        return picture.clone();
    }
    let mut bytes = picture.as_raw().clone();
    for row in bytes.chunks_exact_mut(width) {
        let wide = line_maximum(row, before, after);
        row.copy_from_slice(&wide);
    }
    let mut column = vec![0; height];
    for x in 0..width {
        for (value, row) in column.iter_mut().zip(bytes.chunks_exact(width)) {
            *value = row[x];
        }
        let wide = line_maximum(&column, before, after);
        for (value, row) in wide.iter().zip(bytes.chunks_exact_mut(width)) {
            row[x] = *value;
        }
    }
    GrayImage::from_raw(picture.width(), picture.height(), bytes)
        .expect("as many bytes as the picture that they came from")
}

/// Running maxima over windows of `before + 1 + after` values. The line is cut into blocks of a window's length; each window is
/// the end of one block and the beginning of the next one, whose maxima from either side are kept.
fn line_maximum(line: &[u8], before: usize, after: usize) -> Vec<u8> {
    let before = before.min(line.len());
    let after = after.min(line.len());
    let window = before + 1 + after;
    let length = (line.len() + before + after).next_multiple_of(window);
    // The smallest value stands for what is outside, so that it never wins.
    let mut forward = vec![0; length];
    forward[before..before + line.len()].copy_from_slice(line);
    let mut backward = forward.clone();
    for block in forward.chunks_exact_mut(window) {
        for i in 1..window {
            block[i] = block[i].max(block[i - 1]);
        }
    }
    for block in backward.chunks_exact_mut(window) {
        for i in (1..window).rev() {
            block[i - 1] = block[i - 1].max(block[i]);
        }
    }
    (0..line.len())
        .map(|i| backward[i].max(forward[i + window - 1]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;
    use proptest::prelude::*;

    fn any_picture() -> impl Strategy<Value = GrayImage> {
        (1u32..30, 1u32..30).prop_flat_map(|(width, height)| {
            prop::collection::vec(any::<u8>(), (width * height) as usize)
                .prop_map(move |bytes| GrayImage::from_raw(width, height, bytes).unwrap())
        })
    }

    proptest! {
        #[test]
        fn each_pixel_is_the_largest_under_the_square(picture in any_picture(), side in 1u32..45) {
            let dilated = dilate(&picture, side);
            let (before, after) = (side / 2, side - side / 2 - 1);
            for (x, y, pixel) in dilated.enumerate_pixels() {
                let columns = x.saturating_sub(before)..(x + after + 1).min(picture.width());
                let rows = y.saturating_sub(before)..(y + after + 1).min(picture.height());
                let largest = rows
                    .flat_map(|y| columns.clone().map(move |x| (x, y)))
                    .map(|(x, y)| picture.get_pixel(x, y).0[0])
                    .max();
                prop_assert_eq!(Some(pixel.0[0]), largest);
            }
        }
    }

    #[test]
    fn a_square_of_twenty_spreads_a_pixel_nine_left_and_ten_right() {
        let mut picture = GrayImage::new(60, 60);
        picture.put_pixel(30, 30, Luma([200]));
        let dilated = dilate(&picture, 20);
        let lit: Vec<u32> = (0..60).filter(|x| dilated.get_pixel(*x, 30).0 == [200]).collect();
        assert_eq!(lit, (21..=40).collect::<Vec<_>>());
    }

    #[test]
    fn a_side_of_nothing_or_one_changes_nothing_and_a_huge_one_fills() {
        let picture = GrayImage::from_fn(5, 4, |x, y| Luma([(x * y) as u8]));
        assert_eq!(dilate(&picture, 0), picture);
        assert_eq!(dilate(&picture, 1), picture);
        assert_eq!(
            dilate(&picture, u32::MAX),
            GrayImage::from_pixel(5, 4, Luma([12]))
        );
        assert_eq!(dilate(&GrayImage::new(0, 0), 20).dimensions(), (0, 0));
    }
}

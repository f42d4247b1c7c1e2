//! Lettering for pictures: the one font that comes with the program, and how text is fitted into a column.
//!
//! The font (Ubuntu Light) has Latin, Greek and Cyrillic letters; others show as boxes.

use ab_glyph::FontRef;
use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_text_mut, text_size};

/// The font as plotting libraries want it.
pub(super) const BYTES: &[u8] = epaint_default_fonts::UBUNTU_LIGHT;

/// Draws text of one size.
pub(super) struct Lettering {
    font: FontRef<'static>,
    size: f32,
}

impl Lettering {
    /// The font at `size` pixels.
    pub(super) fn new(size: f32) -> Self {
        let font = FontRef::try_from_slice(BYTES).expect("the embedded font is a valid TrueType file");
        Self { font, size }
    }

    /// Height of a line in pixels, the gap to the next one included.
    pub(super) fn line_height(&self) -> u32 {
        (self.size * 1.25).ceil() as u32
    }

    /// Writes one line with its upper left corner at `(x, y)`.
    pub(super) fn draw(&self, picture: &mut RgbImage, x: u32, y: u32, colour: Rgb<u8>, text: &str) {
        draw_text_mut(picture, colour, x as i32, y as i32, self.size, &self.font, text);
    }

    /// Writes text broken at spaces into at most `lines` lines of `width` pixels; what does not fit ends in "...".
    pub(super) fn draw_wrapped(
        &self,
        picture: &mut RgbImage,
        (x, y): (u32, u32),
        colour: Rgb<u8>,
        text: &str,
        (width, lines): (u32, usize),
    ) {
        for (row, line) in self.wrap(text, width, lines).iter().enumerate() {
            self.draw(picture, x, y + row as u32 * self.line_height(), colour, line);
        }
    }

    fn wrap(&self, text: &str, width: u32, lines: usize) -> Vec<String> {
        let mut rows = vec![String::new()];
        for word in text.split_whitespace() {
            let row = rows.last_mut().expect("there is always a current row");
            let longer = if row.is_empty() {
                word.to_owned()
            } else {
                format!("{row} {word}")
            };
            if row.is_empty() || self.width(&longer) <= width {
                *row = longer;
            } else {
                rows.push(word.to_owned());
            }
        }
        let cut = rows.len() > lines;
        rows.truncate(lines);
        let last = rows.len().saturating_sub(1);
        for (at, row) in rows.iter_mut().enumerate() {
            *row = self.ellipsis(row, width, cut && at == last);
        }
        rows
    }

    fn ellipsis(&self, row: &str, width: u32, always: bool) -> String {
        if !always && self.width(row) <= width {
            return row.to_owned();
        }
        let mut kept: Vec<char> = row.chars().collect();
        while !kept.is_empty() && self.width(&format!("{}...", kept.iter().collect::<String>())) > width {
            kept.pop();
        }
        format!("{}...", kept.into_iter().collect::<String>().trim_end())
    }

    fn width(&self, text: &str) -> u32 {
        text_size(self.size, &self.font, text).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_fit_their_column_whatever_the_text() {
        let lettering = Lettering::new(12.0);
        let texts = [
            "oak desk, warm light, bokeh, green plants, soft palette",
            "one",
            "",
            &"w".repeat(500),
        ];
        for text in texts {
            let rows = lettering.wrap(text, 100, 3);
            assert!((1..=3).contains(&rows.len()));
            assert!(rows.iter().all(|row| lettering.width(row) <= 100), "{rows:?}");
        }
    }

    #[test]
    fn text_that_does_not_fit_says_so() {
        let rows = Lettering::new(12.0).wrap("one two three four five six seven", 60, 1);
        assert!(rows[0].ends_with("..."), "{rows:?}");
    }
}

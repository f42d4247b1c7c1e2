//! `contact_sheet.png`: one column a product, its start above its end, what was asked for and what it is worth under each.
//!
//! Not the best samples but the first of each product, drawn with the same seeds before and after training.

use super::font::Lettering;
use image::{Rgb, RgbImage, imageops};

const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb<u8> = Rgb([28, 30, 34]);
const GREY: Rgb<u8> = Rgb([106, 110, 118]);
const MARGIN: u32 = 18;
const GAP: u32 = 12;
const DESCRIPTION_LINES: usize = 4;
const CAPTION_LINES: usize = 2;

/// One advertisement and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Creative {
    /// The picture, at the sheet's size.
    pub(super) image: RgbImage,
    /// What it was rendered from.
    pub(super) description: String,
    /// The reward model's estimate of its click-through rate, a fraction, where it has one.
    pub(super) predicted_ctr: Option<f64>,
    /// The simulator's, where there is one.
    pub(super) true_ctr: Option<f64>,
}

/// One row: a policy's creatives, one a product.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What the row shows, such as `start`.
    pub(super) label: String,
    /// In the order of the captions.
    pub(super) creatives: Vec<Creative>,
}

/// Draws the sheet: `captions` name the columns, `size` is the side of a creative in pixels.
pub(super) fn draw(title: &str, captions: &[String], rows: &[Row], size: u32) -> RgbImage {
    let layout = Layout::new(captions.len(), rows.len(), size);
    let mut sheet = RgbImage::from_pixel(layout.width, layout.height, PAPER);
    layout.title.draw(&mut sheet, MARGIN, MARGIN, INK, title);
    for (column, caption) in captions.iter().enumerate() {
        let place = (layout.left(column), layout.captions_top);
        layout
            .small
            .draw_wrapped(&mut sheet, place, GREY, caption, (size, CAPTION_LINES));
    }
    for (at, row) in rows.iter().enumerate() {
        layout
            .label
            .draw(&mut sheet, MARGIN, layout.top(at), INK, &row.label);
        for (column, creative) in row.creatives.iter().enumerate() {
            layout.draw_creative(&mut sheet, (column, at), creative);
        }
    }
    sheet
}

/// Where everything goes, in pixels.
struct Layout {
    title: Lettering,
    label: Lettering,
    small: Lettering,
    size: u32,
    width: u32,
    height: u32,
    captions_top: u32,
    rows_top: u32,
    row_height: u32,
}

impl Layout {
    fn new(columns: usize, rows: usize, size: u32) -> Self {
        let (title, label, small) = (Lettering::new(22.0), Lettering::new(16.0), Lettering::new(13.0));
        let captions_top = MARGIN + title.line_height() + GAP;
        let rows_top = captions_top + CAPTION_LINES as u32 * small.line_height() + GAP;
        let under = label.line_height() + DESCRIPTION_LINES as u32 * small.line_height();
        let row_height = label.line_height() + size + under + GAP;
        let width = 2 * MARGIN + columns as u32 * (size + GAP) - GAP.min(columns as u32 * GAP);
        let height = rows_top + rows as u32 * row_height + MARGIN;
        Self {
            title,
            label,
            small,
            size,
            width: width.max(640),
            height,
            captions_top,
            rows_top,
            row_height,
        }
    }

    fn left(&self, column: usize) -> u32 {
        MARGIN + column as u32 * (self.size + GAP)
    }

    fn top(&self, row: usize) -> u32 {
        self.rows_top + row as u32 * self.row_height
    }

    fn draw_creative(&self, sheet: &mut RgbImage, (column, row): (usize, usize), creative: &Creative) {
        let x = self.left(column);
        let picture = self.top(row) + self.label.line_height();
        imageops::replace(
            sheet,
            &fit(&creative.image, self.size),
            i64::from(x),
            i64::from(picture),
        );
        let rates = picture + self.size + 4;
        self.label
            .draw_wrapped(sheet, (x, rates), INK, &rate_line(creative), (self.size, 1));
        let words = rates + self.label.line_height();
        let column = (self.size, DESCRIPTION_LINES);
        self.small
            .draw_wrapped(sheet, (x, words), GREY, &creative.description, column);
    }
}

fn fit(image: &RgbImage, size: u32) -> RgbImage {
    if image.dimensions() == (size, size) {
        return image.clone();
    }
    imageops::resize(image, size, size, imageops::FilterType::Triangle)
}

fn rate_line(creative: &Creative) -> String {
    let rates = [("predicted", creative.predicted_ctr), ("true", creative.true_ctr)];
    let known = rates.map(|(name, rate)| Some(format!("{name} {:.2} %", rate? * 100.0)));
    known.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creative(colour: u8) -> Creative {
        Creative {
            image: RgbImage::from_pixel(64, 64, Rgb([colour, 0, 0])),
            description: "oak desk, warm light".into(),
            predicted_ctr: Some(0.031),
            true_ctr: Some(0.029),
        }
    }

    #[test]
    fn every_creative_is_on_the_sheet_at_its_own_place() {
        let rows = ["start", "end"].map(|label| Row {
            label: label.into(),
            creatives: (0..3).map(|i| creative(100 + i)).collect(),
        });
        let captions = vec!["desk lamp".to_owned(); 3];
        let sheet = draw("Adwright", &captions, &rows, 64);
        let layout = Layout::new(3, 2, 64);
        for row in 0..2 {
            for column in 0..3 {
                let y = layout.top(row) + layout.label.line_height() + 32;
                let pixel = sheet.get_pixel(layout.left(column) + 32, y);
                assert_eq!(pixel.0, [100 + column as u8, 0, 0], "row {row}, column {column}");
            }
        }
    }

    #[test]
    fn rates_read_as_percentages_and_unknown_truth_is_left_out() {
        assert_eq!(rate_line(&creative(0)), "predicted 3.10 %  true 2.90 %");
        assert_eq!(
            rate_line(&Creative {
                true_ctr: None,
                ..creative(0)
            }),
            "predicted 3.10 %"
        );
    }

    #[test]
    fn a_sheet_without_products_is_still_a_picture() {
        assert!(draw("nothing", &[], &[], 64).height() > 0);
    }
}

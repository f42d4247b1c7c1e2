//! The importer of catalogues in CAIG's format: a JSON list of `{id, image, new_caption}`.
//!
//! All images are read at once and kept in memory, up to a limit for the file; it is meant for hundreds of products, not
//! for millions.

use super::{Catalogue, division};
use crate::{
    CutoutError, FilePlaces, ImportError, Product, RowProblem, Split,
    cutout::{self, is_visible},
    import::{Memory, Row, list, name_and_folder},
};
use common::ProductId;
use image::RgbaImage;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

const CAPTION: &str = "new_caption";

const KEYS: [&str; 3] = ["id", "image", CAPTION];

/// What the policy is asked unless [`CaigCatalogue::with_instructions`] says otherwise.
const INSTRUCTIONS: [&str; 2] = [
    "Write a short, comma-separated description of a background for an advertisement of this product: {caption}. \
     Give the description only.",
    "Which scene, surface, light and props would suit an advertising picture of {caption}? \
     Answer with short phrases separated by commas and nothing else.",
];

/// A user's own products: those that are trained on, then those that are held out, each in the file's order.
#[derive(Debug, Clone)]
pub struct CaigCatalogue {
    name: String,
    products: Vec<Product>,
    split: Split,
    places: FilePlaces,
    instructions: Vec<String>,
}

impl CaigCatalogue {
    /// Reads a catalogue: a JSON list of objects with `id`, `image` (a PNG or JPEG, relative to the file: RGBA, palette,
    /// or RGB with a pure white background) and `new_caption`. Its name is the file's.
    ///
    /// About `test_share` (0 to 0.5) of eight products or more are held out, by their ids; 0, or of fewer, none: all are then trained on
    /// and measured on.
    ///
    /// # Errors
    /// [`ImportError`] with every mistake of every row.
    pub fn load(path: &Path, test_share: f64) -> Result<Self, ImportError> {
        let rows = list(path, "{id, image, new_caption}")?;
        let (name, folder) = name_and_folder(path);
        let products =
            read_products(rows, &folder, Memory::default()).map_err(|problems| ImportError::Rows {
                path: path.to_owned(),
                problems,
            })?;
        let held_out = division::held_out(&products, test_share);
        let mut rows: Vec<(bool, usize, Product)> = Vec::with_capacity(products.len());
        for ((product, row), held_out) in products.into_iter().zip(1..).zip(held_out) {
            rows.push((held_out, row, product));
        }
        // Keeps the file's order on either side.
        rows.sort_by_key(|(held_out, ..)| *held_out);
        let test = rows.iter().filter(|(held_out, ..)| *held_out).count();
        Ok(Self {
            name,
            split: Split::last(rows.len(), test),
            places: FilePlaces::new(path, rows.iter().map(|&(_, row, _)| (row, CAPTION))),
            products: rows.into_iter().map(|(.., product)| product).collect(),
            instructions: INSTRUCTIONS.map(str::to_owned).to_vec(),
        })
    }

    /// Asks the policy with these instructions, each containing `{caption}` once: those it was pre-trained on.
    #[must_use]
    pub fn with_instructions(mut self, instructions: Vec<String>) -> Self {
        self.instructions = instructions;
        self
    }
}

fn read_products(
    rows: Vec<Value>,
    folder: &Path,
    mut memory: Memory,
) -> Result<Vec<Product>, Vec<RowProblem>> {
    let (mut products, mut problems, mut seen) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (index, value) in rows.into_iter().enumerate() {
        let mut row = Row::new(index + 1, value, &KEYS);
        products.extend(read_product(&mut row, folder, &mut memory, &mut seen));
        row.finish(&mut problems);
    }
    if problems.is_empty() {
        Ok(products)
    } else {
        Err(problems)
    }
}

fn read_product(
    row: &mut Row,
    folder: &Path,
    memory: &mut Memory,
    seen: &mut BTreeMap<ProductId, usize>,
) -> Option<Product> {
    let id = row.new_product_id("id", seen);
    let caption = row.caption(CAPTION);
    let image = row.image("image", folder, memory, visible_cutout);
    Some(Product {
        id: id?,
        caption: caption?,
        category: None,
        attributes: BTreeMap::new(),
        image: image?,
    })
}

fn visible_cutout(bytes: &[u8]) -> Result<RgbaImage, CutoutError> {
    let cutout = cutout::decode(bytes)?;
    if is_visible(&cutout) {
        Ok(cutout)
    } else {
        Err(CutoutError::Transparent {
            width: cutout.width(),
            height: cutout.height(),
        })
    }
}

impl Catalogue for CaigCatalogue {
    fn name(&self) -> &str {
        &self.name
    }

    fn products(&self) -> &[Product] {
        &self.products
    }

    fn split(&self) -> Split {
        self.split.clone()
    }

    fn places(&self) -> Option<&FilePlaces> {
        Some(&self.places)
    }

    fn instructions(&self) -> &[String] {
        &self.instructions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage, Rgba};
    use std::{fs, path::PathBuf};
    use tempfile::TempDir;

    const SHARE: f64 = 0.2;

    fn folder(json: &str) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let mut cutout = RgbaImage::from_pixel(4, 4, Rgba([200, 30, 40, 255]));
        cutout.put_pixel(0, 0, Rgba([0; 4]));
        cutout.save(folder.path().join("good.png")).unwrap();
        RgbaImage::new(4, 4)
            .save(folder.path().join("empty.png"))
            .unwrap();
        RgbImage::from_pixel(3, 3, Rgb([255, 255, 255]))
            .save(folder.path().join("white.png"))
            .unwrap();
        fs::write(folder.path().join("broken.png"), b"\x89PNG\r\n\x1a\nnonsense").unwrap();
        let path = folder.path().join("shop.json");
        fs::write(&path, json).unwrap();
        (folder, path)
    }

    fn problems(json: &str) -> Vec<(usize, String)> {
        let (_folder, path) = folder(json);
        match CaigCatalogue::load(&path, SHARE).unwrap_err() {
            ImportError::Rows { problems, .. } => problems.into_iter().map(|p| (p.row, p.key)).collect(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_good_catalogue_is_read_whole_and_a_small_one_is_not_divided() {
        let json = r#"[{"id": "1", "image": "good.png", "new_caption": " Oak piano "},
                       {"id": "2", "image": "good.png", "new_caption": "黑豆奶粉"}]"#;
        let (_folder, path) = folder(json);
        let catalogue = CaigCatalogue::load(&path, SHARE).unwrap();
        assert_eq!(catalogue.name(), "shop");
        assert_eq!(catalogue.split(), Split::shared(2));
        assert_eq!(catalogue.products()[0].caption, "Oak piano");
        assert_eq!(catalogue.products()[0].image.get_pixel(0, 0).0[3], 0);
        assert!(
            catalogue
                .instructions()
                .iter()
                .all(|text| text.matches("{caption}").count() == 1)
        );
    }

    #[test]
    fn products_that_are_held_out_stand_last_and_every_one_keeps_its_row() {
        let rows: Vec<String> = (1..=24)
            .map(|id| format!(r#"{{"id": "p{id}", "image": "good.png", "new_caption": "row {id}"}}"#))
            .collect();
        let (_folder, path) = folder(&format!("[{}]", rows.join(",")));
        let load = |share| CaigCatalogue::load(&path, share).unwrap();
        let row = |product: &Product| product.id.as_str()[1..].parse::<usize>().unwrap();
        let divided = load(SHARE);
        let (split, products) = (divided.split(), divided.products());
        assert!(split.has_held_out() && split.test.len() >= 2, "{split:?}");
        assert_eq!((split.train.start, split.test.end), (0, 24));
        assert_eq!(split.train.end, split.test.start);
        for part in [split.train, split.test] {
            assert!(products[part].is_sorted_by_key(row));
        }
        let places = divided.places().unwrap();
        assert!((0..24).all(|index| places.row(index) == row(&products[index])));
        let whole = load(0.0);
        assert_eq!(whole.split(), Split::shared(24));
        assert!(whole.products().is_sorted_by_key(row));
    }

    #[test]
    fn every_mistake_of_every_row_is_reported_with_its_key() {
        let json = r#"[{"id": "1", "image": "good.png", "new_caption": "fine"},
                       {"id": "1", "image": "gone.png", "new_caption": "  "},
                       {"id": "2", "image": "broken.png", "caption": "wrong key"},
                       {"id": 3, "image": "empty.png", "new_caption": "nothing to see"},
                       {"image": "white.png", "new_caption": null},
                       "no object"]"#;
        let expected = [
            (2, "id"),
            (2, "new_caption"),
            (2, "image"),
            (3, "caption"),
            (3, "new_caption"),
            (3, "image"),
            (4, "id"),
            (4, "image"),
            (5, "id"),
            (5, "new_caption"),
            (5, "image"),
            (6, "row"),
        ];
        assert_eq!(problems(json), expected.map(|(row, key)| (row, key.to_owned())));
    }

    #[test]
    fn an_unknown_key_named_row_hides_no_other_mistake() {
        let expected = [(1, "row"), (1, "id"), (1, "new_caption"), (1, "image")];
        assert_eq!(
            problems(r#"[{"row": 7}]"#),
            expected.map(|(row, key)| (row, key.to_owned()))
        );
    }

    #[test]
    fn captions_are_limited_and_plain() {
        let caption = |text: &str| {
            problems(&format!(
                r#"[{{"id": "1", "image": "good.png", "new_caption": "{text}"}}]"#
            ))
        };
        let refused = [(1, "new_caption".to_owned())];
        for text in ["", " \u{2003}\u{3000} ", "a\\u0007b", "a\\nb", &"x".repeat(4097)] {
            assert_eq!(caption(text), refused, "{text:?}");
        }
        let longest = format!(
            r#"[{{"id": "1", "image": "good.png", "new_caption": "{}"}}]"#,
            "x".repeat(4096)
        );
        let (_folder, path) = folder(&longest);
        assert!(CaigCatalogue::load(&path, SHARE).is_ok());
    }

    #[test]
    fn the_pictures_of_one_file_share_one_limit_of_memory() {
        let json = r#"[{"id": "1", "image": "good.png", "new_caption": "a"},
                       {"id": "2", "image": "good.png", "new_caption": "b"},
                       {"id": "3", "image": "good.png", "new_caption": "c"}]"#;
        let (folder, _) = folder(json);
        let rows: Vec<Value> = serde_json::from_str(json).unwrap();
        let bytes = 4 * 4 * 4;
        assert_eq!(
            read_products(rows.clone(), folder.path(), Memory::of(3 * bytes))
                .unwrap()
                .len(),
            3
        );
        let refused = read_products(rows, folder.path(), Memory::of(2 * bytes - 1)).unwrap_err();
        assert_eq!(refused.len(), 1, "told once: {refused:?}");
        assert_eq!((refused[0].row, refused[0].key.as_str()), (2, "image"));
    }

    #[test]
    fn what_a_picture_is_to_be_read_from_is_a_plain_file_of_a_size_that_a_picture_has() {
        let json = r#"[{"id": "1", "image": "/dev/zero", "new_caption": "without end"},
                       {"id": "2", "image": "large.png", "new_caption": "more than any picture"}]"#;
        let (folder, path) = folder(json);
        let large = fs::File::create(folder.path().join("large.png")).unwrap();
        large.set_len(1 << 40).unwrap();
        let message = CaigCatalogue::load(&path, SHARE).unwrap_err().to_string();
        for part in [
            "/dev/zero: it is no plain file",
            "large.png: 1099511627776 bytes; at most",
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn the_content_of_a_file_decides_and_not_its_extension() {
        let (folder, path) = folder(r#"[{"id": "1", "image": "good.jpg", "new_caption": "a"}]"#);
        fs::rename(folder.path().join("good.png"), folder.path().join("good.jpg")).unwrap();
        assert_eq!(
            CaigCatalogue::load(&path, SHARE).unwrap().products()[0]
                .image
                .dimensions(),
            (4, 4)
        );
    }

    #[test]
    fn messages_name_file_row_key_and_what_would_be_right() {
        let (_folder, path) = folder(r#"[{"id": "1", "image": "gone.png", "caption": "x"}]"#);
        let message = CaigCatalogue::load(&path, SHARE).unwrap_err().to_string();
        for part in [
            "shop.json",
            "row 1, image",
            "gone.png",
            "unknown key",
            "new_caption",
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn what_is_no_list_of_products_is_refused() {
        for json in ["", "[]", "{}", "[{]", "\u{0}"] {
            let (_folder, path) = folder(json);
            assert!(
                matches!(
                    CaigCatalogue::load(&path, SHARE),
                    Err(ImportError::Malformed { .. })
                ),
                "{json:?}"
            );
        }
        let gone = Path::new("no-such-catalogue.json");
        assert!(matches!(
            CaigCatalogue::load(gone, SHARE),
            Err(ImportError::Unreadable { .. })
        ));
    }
}

//! The importer of click logs: one JSON object per line, one line per creative.
//!
//! All pictures are kept in memory at their own size, up to a limit for the file. A click log has no cut-outs: the picture of a product is its first
//! creative, opaque.

use super::{ClickLog, Creative};
use crate::{
    FilePlaces, ImportError, Product, RowProblem, Split, cutout,
    import::{Memory, Row, name_and_folder},
    product::rank,
};
use common::ProductId;
use image::{DynamicImage, RgbImage};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

const CAPTION: &str = "caption";

const KEYS: [&str; 6] = [
    "product_id",
    CAPTION,
    "category",
    "image",
    "impressions",
    "clicks",
];

/// A click log read from a file.
#[derive(Debug, Clone)]
pub struct FileClickLog {
    products: Vec<Product>,
    creatives: Vec<Creative>,
    places: FilePlaces,
    split: Split,
}

impl FileClickLog {
    /// Reads a click log of lines `{product_id, caption, category?, image, impressions, clicks}`: `image` is a PNG or JPEG
    /// relative to the file, `clicks` at most `impressions`; lines of one product agree in caption and category, and there
    /// are at least two of them. Blank lines are skipped.
    ///
    /// `test_share` (0 to 1) of the products are held out. Products are ordered by the BLAKE3 digest of their id, so that
    /// which ones are held out does not depend on the order of lines.
    ///
    /// # Errors
    /// [`ImportError`] with every mistake of every line.
    pub fn load(path: &Path, test_share: f64) -> Result<Self, ImportError> {
        let text = fs::read_to_string(path).map_err(|source| ImportError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let (_, folder) = name_and_folder(path);
        let groups = read(&text, &folder).map_err(|problems| ImportError::Rows {
            path: path.to_owned(),
            problems,
        })?;
        if groups.is_empty() {
            let reason = format!("no lines; objects with the keys {} are needed", KEYS.join(", "));
            return Err(ImportError::Malformed {
                path: path.to_owned(),
                reason,
            });
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_cached_key(|(id, _)| rank(id));
        let split = Split::held_out(groups.len(), test_share);
        let places = FilePlaces::new(path, groups.iter().map(|(_, group)| (group.first_line, CAPTION)));
        let (mut products, mut creatives) = (Vec::new(), Vec::new());
        for (index, (id, group)) in groups.into_iter().enumerate() {
            products.push(group.product(id));
            creatives.extend(group.shown.into_iter().map(|shown| shown.creative(index)));
        }
        Ok(Self {
            products,
            creatives,
            places,
            split,
        })
    }
}

/// The lines of one product.
struct Group {
    first_line: usize,
    caption: String,
    category: Option<String>,
    shown: Vec<Shown>,
}

/// What one line says of its creative.
struct Shown {
    image: RgbImage,
    impressions: u64,
    clicks: u64,
}

impl Group {
    fn product(&self, id: ProductId) -> Product {
        let image = DynamicImage::ImageRgb8(self.shown[0].image.clone()).into_rgba8();
        let (caption, category) = (self.caption.clone(), self.category.clone());
        Product {
            id,
            caption,
            category,
            attributes: BTreeMap::new(),
            image,
        }
    }
}

impl Shown {
    fn creative(self, product: usize) -> Creative {
        let Self {
            image,
            impressions,
            clicks,
        } = self;
        Creative {
            product,
            image,
            description: None,
            impressions,
            clicks,
        }
    }
}

fn read(text: &str, folder: &Path) -> Result<BTreeMap<ProductId, Group>, Vec<RowProblem>> {
    let (mut groups, mut problems, mut memory) = (BTreeMap::new(), Vec::new(), Memory::default());
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        match serde_json::from_str::<Value>(line) {
            Ok(value) => {
                let mut row = Row::new(index + 1, value, &KEYS);
                read_line(&mut row, index + 1, folder, &mut memory, &mut groups);
                row.finish(&mut problems);
            }
            Err(error) => {
                let reason = format!(
                    "not JSON ({error}); an object with the keys {} is needed",
                    KEYS.join(", ")
                );
                problems.push(RowProblem {
                    row: index + 1,
                    key: "line".into(),
                    reason,
                });
            }
        }
    }
    if problems.is_empty() {
        problems.extend(
            groups
                .iter()
                .filter(|(_, group)| group.shown.len() < 2)
                .map(|(id, group)| RowProblem {
                    row: group.first_line,
                    key: "product_id".into(),
                    reason: format!(
                        "{:?} has one creative; at least two are needed to compare",
                        id.as_str()
                    ),
                }),
        );
    }
    if problems.is_empty() {
        Ok(groups)
    } else {
        Err(problems)
    }
}

fn read_line(
    row: &mut Row,
    line: usize,
    folder: &Path,
    memory: &mut Memory,
    groups: &mut BTreeMap<ProductId, Group>,
) -> Option<()> {
    let id = row.product_id("product_id");
    let caption = row.caption(CAPTION);
    let category = row.optional_text("category");
    let image = row.image("image", folder, memory, cutout::decode_rgb);
    let (impressions, clicks) = (row.count("impressions"), row.count("clicks"));
    if let (Some(impressions), Some(clicks)) = (impressions, clicks)
        && clicks > impressions
    {
        row.problem(
            "clicks",
            format!("{clicks}; at most the {impressions} impressions are possible"),
        );
    }
    let shown = Shown {
        image: image?,
        impressions: impressions?,
        clicks: clicks?,
    };
    let (id, caption) = (id?, caption?);
    let group = groups.entry(id).or_insert_with(|| Group {
        first_line: line,
        caption: caption.clone(),
        category: category.clone(),
        shown: Vec::new(),
    });
    if group.caption != caption {
        row.problem(
            CAPTION,
            format!("differs from line {} of the same product", group.first_line),
        );
    }
    if group.category != category {
        row.problem(
            "category",
            format!("differs from line {} of the same product", group.first_line),
        );
    }
    group.shown.push(shown);
    Some(())
}

impl ClickLog for FileClickLog {
    fn products(&self) -> &[Product] {
        &self.products
    }

    fn creatives(&self) -> &[Creative] {
        &self.creatives
    }

    fn split(&self) -> Split {
        self.split.clone()
    }

    fn places(&self) -> Option<&FilePlaces> {
        Some(&self.places)
    }

    fn true_ctr(&self, _creative: usize) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn load(lines: &[String]) -> Result<FileClickLog, ImportError> {
        let folder = TempDir::new().unwrap();
        RgbImage::new(2, 3).save(folder.path().join("a.png")).unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, lines.join("\n")).unwrap();
        FileClickLog::load(&path, 0.25)
    }

    fn line(product: &str, impressions: u64, clicks: u64) -> String {
        format!(
            r#"{{"product_id":"{product}","caption":"a {product}","image":"a.png","impressions":{impressions},"clicks":{clicks}}}"#
        )
    }

    fn good() -> Vec<String> {
        (0..16)
            .map(|i| line(&format!("p{}", i % 8), 1_000 + i, i))
            .collect()
    }

    #[test]
    fn creatives_are_grouped_by_product_and_products_split_whole() {
        let log = load(&good()).unwrap();
        assert_eq!(log.products().len(), 8);
        assert_eq!(
            log.creatives().iter().map(|c| c.product).collect::<Vec<_>>(),
            (0..8).flat_map(|p| [p, p]).collect::<Vec<_>>()
        );
        assert_eq!(
            log.split(),
            Split {
                train: 0..6,
                test: 6..8
            }
        );
        assert_eq!(log.true_ctr(0), None);
        for (index, product) in log.products().iter().enumerate() {
            let first = log.places().unwrap().row(index);
            assert_eq!(product.id.as_str(), format!("p{}", first - 1));
        }
    }

    #[test]
    fn the_order_of_lines_does_not_decide_what_is_held_out() {
        let mut reversed = good();
        reversed.reverse();
        let ids = |log: FileClickLog| log.products().iter().map(|p| p.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(load(&good()).unwrap()), ids(load(&reversed).unwrap()));
    }

    #[test]
    fn every_mistake_of_every_line_is_reported_with_its_key() {
        let mut lines = good();
        lines.push(line("p0", 10, 11));
        lines.push(line("p1", 10, 1).replace("a p1", "another"));
        lines.push(r#"{"product_id":"p2","caption":"a p2","image":"gone.png","impressions":-1}"#.into());
        lines.push("nonsense".into());
        let Err(ImportError::Rows { problems, .. }) = load(&lines) else {
            panic!("accepted")
        };
        let found: Vec<_> = problems.iter().map(|p| (p.row, p.key.as_str())).collect();
        let expected = [
            (17, "clicks"),
            (18, "caption"),
            (19, "image"),
            (19, "impressions"),
            (19, "clicks"),
            (20, "line"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_product_with_one_creative_and_a_file_without_lines_are_refused() {
        let mut lines = good();
        lines.push(line("lonely", 10, 1));
        let Err(ImportError::Rows { problems, .. }) = load(&lines) else {
            panic!("accepted")
        };
        assert_eq!((problems[0].row, problems[0].key.as_str()), (17, "product_id"));
        assert!(matches!(load(&[]), Err(ImportError::Malformed { .. })));
    }
}

//! Preference pairs in files: those that others collected, and those that a run was trained on.
//!
//! Read are CAIG's and AutoPP's files (`preferences/caig.rs`) and TRL's (`preferences/trl.rs`); TRL's are also written.
//! All pictures are read at once and kept in memory, up to a limit for the file.

mod caig;
mod trl;

pub use trl::trl_line;

use crate::{
    Catalogue, FilePlaces, ImportError, Product, RowProblem, Split, cutout,
    import::{Memory, Row, name_and_folder},
};
use common::ProductId;
use image::RgbaImage;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// What stands for a picture in a prompt. Where it goes is the template's affair.
const IMAGE: &str = "<image>";

/// Two answers to one prompt, of which the first is better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// The better one.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// Pairs read from a file. As a catalogue it has a product for every row, whose caption is the row's prompt.
#[derive(Debug, Clone)]
pub struct PreferenceFile {
    name: String,
    products: Vec<Product>,
    preferences: Vec<Preference>,
    places: FilePlaces,
    instructions: [String; 1],
}

/// What a row says.
struct Pair {
    /// Its number, and the key of its prompt.
    place: (usize, &'static str),
    image: RgbaImage,
    prompt: String,
    preference: Preference,
}

impl PreferenceFile {
    /// Reads a file: a JSON list or JSON lines of objects in CAIG's form (`id`, `image`, `chosen_conversations`,
    /// `reject_conversations`; AutoPP's singular names too) or in TRL's (`images`, `prompt`, `chosen`, `rejected`, as texts or
    /// as messages). Images are PNG or JPEG, relative to the file; further keys are ignored.
    ///
    /// # Errors
    /// [`ImportError`] with every mistake of every row.
    pub fn load(path: &Path) -> Result<Self, ImportError> {
        let bytes = fs::read(path).map_err(|source| ImportError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let rows = rows(&bytes).map_err(|reason| ImportError::Malformed {
            path: path.to_owned(),
            reason: format!(
                "{reason}; a JSON list or JSON lines of pairs in CAIG's or TRL's form are needed"
            ),
        })?;
        let (name, folder) = name_and_folder(path);
        let (mut pairs, mut problems, mut memory) = (vec![], vec![], Memory::default());
        for (number, value) in rows {
            pairs.extend(read_pair(number, value, &folder, &mut memory, &mut problems));
        }
        if !problems.is_empty() {
            return Err(ImportError::Rows {
                path: path.to_owned(),
                problems,
            });
        }
        Ok(Self::of(path, name, pairs))
    }

    fn of(path: &Path, name: String, pairs: Vec<Pair>) -> Self {
        let places = FilePlaces::new(path, pairs.iter().map(|pair| pair.place));
        let (mut products, mut preferences) = (vec![], vec![]);
        for (index, pair) in pairs.into_iter().enumerate() {
            products.push(Product {
                id: ProductId::new(format!("pair-{}", index + 1)).expect("letters, digits and a dash"),
                caption: pair.prompt,
                category: None,
                attributes: BTreeMap::new(),
                image: pair.image,
            });
            preferences.push(pair.preference);
        }
        Self {
            name,
            products,
            preferences,
            places,
            instructions: ["{caption}".to_owned()],
        }
    }

    /// Where the pairs stand in the file.
    pub fn file_places(&self) -> &FilePlaces {
        &self.places
    }

    /// The pairs; product `i` of the catalogue has pair `i`.
    pub fn preferences(&self) -> &[Preference] {
        &self.preferences
    }
}

impl Catalogue for PreferenceFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn products(&self) -> &[Product] {
        &self.products
    }

    fn split(&self) -> Split {
        Split::shared(self.products.len())
    }

    fn places(&self) -> Option<&FilePlaces> {
        Some(self.file_places())
    }

    fn instructions(&self) -> &[String] {
        &self.instructions
    }
}

/// The rows of a file with their numbers, lines of JSON or one list.
fn rows(bytes: &[u8]) -> Result<Vec<(usize, Value)>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not text ({error})"))?;
    let rows: Vec<(usize, Value)> = if text.trim_start().starts_with('[') {
        let list: Vec<Value> = serde_json::from_str(text).map_err(|error| format!("not JSON ({error})"))?;
        list.into_iter()
            .enumerate()
            .map(|(index, value)| (index + 1, value))
            .collect()
    } else {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| {
                let value = serde_json::from_str(line);
                Ok((
                    index + 1,
                    value.map_err(|error| format!("line {}: not JSON ({error})", index + 1))?,
                ))
            })
            .collect::<Result<_, String>>()?
    };
    match rows.is_empty() {
        true => Err("no rows".into()),
        false => Ok(rows),
    }
}

fn read_pair(
    number: usize,
    value: Value,
    folder: &Path,
    memory: &mut Memory,
    problems: &mut Vec<RowProblem>,
) -> Option<Pair> {
    let is_caig = caig::is_meant_by(&value);
    let known = if is_caig { &caig::KEYS[..] } else { &trl::KEYS[..] };
    let mut row = Row::open(number, value, known);
    let said = match is_caig {
        true => caig::read(&mut row),
        false => trl::read(&mut row),
    };
    let pair = said.and_then(|said| check(&mut row, number, said, folder, memory));
    row.finish(problems);
    pair
}

/// What a row of either form says, as texts.
struct Said {
    /// The key that names the image.
    image_key: &'static str,
    /// Its path, relative to the file.
    image: String,
    prompt_key: &'static str,
    prompt: String,
    chosen_key: &'static str,
    chosen: String,
    rejected: String,
}

fn check(row: &mut Row, number: usize, said: Said, folder: &Path, memory: &mut Memory) -> Option<Pair> {
    let image = row.picture(said.image_key, &said.image, folder, memory, cutout::decode);
    let prompt = said.prompt.replacen(IMAGE, "", 1).trim().to_owned();
    if prompt.is_empty() || prompt.contains(IMAGE) {
        let wanted = format!("words, and at most one {IMAGE}, are needed");
        row.problem(said.prompt_key, wanted);
    }
    // An answer may be empty: a policy may end at once.
    let preference = Preference {
        chosen: said.chosen,
        rejected: said.rejected,
    };
    if preference.chosen == preference.rejected {
        row.problem(
            said.chosen_key,
            "both answers are the same, which teaches nothing",
        );
    }
    Some(Pair {
        place: (number, said.prompt_key),
        image: image?,
        prompt,
        preference,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use serde_json::json;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn file(text: &str) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        for (name, grey) in [("lamp.png", 30), ("vase.png", 200)] {
            RgbaImage::from_pixel(4, 4, Rgba([grey, grey, grey, 255]))
                .save(folder.path().join(name))
                .unwrap();
        }
        let path = folder.path().join("pairs.json");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn load(text: &str) -> Result<PreferenceFile, ImportError> {
        let (_folder, path) = file(text);
        PreferenceFile::load(&path)
    }

    fn turns(human: &str, gpt: &str) -> Value {
        json!([{"from": "human", "value": human}, {"from": "gpt", "value": gpt}])
    }

    fn caig(chosen: &str, rejected: &str) -> Value {
        json!({
            "id": "7", "image": "lamp.png",
            "chosen_conversations": turns("<image>\nA lamp?", chosen),
            "reject_conversations": turns("<image>\nA lamp?", rejected),
        })
    }

    fn said(file: &PreferenceFile) -> Vec<(&str, &str, &str)> {
        file.products()
            .iter()
            .zip(file.preferences())
            .map(|(product, pair)| (&product.caption[..], &pair.chosen[..], &pair.rejected[..]))
            .collect()
    }

    #[test]
    fn pairs_of_caig_autopp_and_trl_say_the_same() {
        let autopp = json!({
            "image": "lamp.png", "chosen_conversation": turns("A lamp?", "desk"),
            "reject_conversation": turns("A lamp?", "beach"),
        });
        let texts = json!({"images": ["lamp.png"], "prompt": "<image>A lamp?", "chosen": "desk", "rejected": "beach"});
        let messages = json!({
            "images": ["lamp.png"], "score_chosen": 0.4,
            "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "A lamp?"}]}],
            "chosen": [{"role": "assistant", "content": "desk"}],
            "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "beach"}]}],
        });
        for row in [caig("desk", "beach"), autopp, texts, messages] {
            let read = load(&format!("[{row}]")).unwrap();
            assert_eq!(said(&read), [("A lamp?", "desk", "beach")], "{row}");
            let lines = load(&format!("{row}\n\n{row}\n")).unwrap();
            assert_eq!(said(&lines).len(), 2);
            let places = lines.places().unwrap();
            assert_eq!([places.row(0), places.row(1)], [1, 3]);
        }
    }

    #[test]
    fn what_is_written_for_trl_is_read_again() {
        let line = trl_line(
            "vase.png",
            "Where?",
            &Preference {
                chosen: "oak \"desk\"".into(),
                rejected: "beach".into(),
            },
        );
        assert!(!line.contains('\n'));
        let read = load(&line).unwrap();
        assert_eq!(said(&read), [("Where?", "oak \"desk\"", "beach")]);
        assert_eq!(read.products()[0].image.get_pixel(0, 0).0[0], 200);
    }

    #[test]
    fn every_mistake_of_every_row_is_reported_with_its_key() {
        let rows = [
            caig("desk", "desk"),
            json!({"image": "lamp.png", "chosen_conversations": turns("<image>", "b"), "reject_conversations": turns("<image>", "")}),
            json!({"image": "lamp.png", "chosen_conversations": turns("a", "b"), "reject_conversations": turns("c", "d")}),
            json!({"image": "gone.png", "chosen_conversations": turns("a", "b"), "reject_conversations": turns("a", "d")}),
            json!({"images": [], "prompt": "a", "chosen": "b", "rejected": "c"}),
            json!({"images": ["lamp.png"], "prompt": [{"role": "system", "content": "a"}], "chosen": "b", "rejected": "c"}),
            json!({"images": ["lamp.png"], "prompt": "a", "chosen": 7}),
            json!("no object"),
        ];
        let text = serde_json::to_string(&rows).unwrap();
        let ImportError::Rows { problems, .. } = load(&text).unwrap_err() else {
            panic!("rows are at fault");
        };
        let found: Vec<_> = problems.iter().map(|p| (p.row, p.key.as_str())).collect();
        let expected = [
            (1, "chosen_conversations"),
            (2, "chosen_conversations"),
            (3, "reject_conversations"),
            (4, "image"),
            (5, "images"),
            (6, "prompt"),
            (7, "chosen"),
            (7, "rejected"),
            (8, "row"),
        ];
        assert_eq!(found, expected, "{problems:#?}");
    }

    #[test]
    fn what_is_no_list_of_pairs_is_refused() {
        for text in ["", "[]", "\n\n", "[{]", "{", "\u{0}"] {
            assert!(
                matches!(load(text), Err(ImportError::Malformed { .. })),
                "{text:?}"
            );
        }
    }
}

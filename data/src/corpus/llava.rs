//! The importer of training files in LLaVA's format: a JSON list of `{id, image?, conversations}`, a conversation being
//! what `human` asks and what `gpt` answers.
//!
//! All pictures are read at once and kept in memory, up to a limit for the file.

use super::{Corpus, CorpusImage, CorpusSample, Modality};
use crate::{
    FilePlaces, ImportError, Product, cutout,
    import::{Memory, Row, list, name_and_folder},
};
use image::RgbaImage;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// What a row says.
const CONVERSATIONS: &str = "conversations";

const KEYS: [&str; 3] = ["id", "image", CONVERSATIONS];

/// What stands for the picture in a question. Where it goes is the template's affair.
const IMAGE: &str = "<image>";

/// A user's own questions and answers, endless: one pass after the other, each in an order of its own.
#[derive(Debug)]
pub struct LlavaCorpus {
    turns: Vec<Turn>,
    places: FilePlaces,
    /// The order of the pass that was asked for last.
    order: Mutex<Option<Order>>,
}

#[derive(Debug)]
struct Turn {
    image: Option<Arc<RgbaImage>>,
    instruction: String,
    completion: String,
}

impl Turn {
    fn sample(&self) -> CorpusSample {
        CorpusSample {
            family: None,
            modality: match self.image {
                Some(_) => Modality::ImageText,
                None => Modality::Text,
            },
            product: None,
            image: self.image.clone().map(CorpusImage::Picture),
            instruction: self.instruction.clone(),
            completion: self.completion.clone(),
        }
    }
}

#[derive(Debug)]
struct Order {
    seed: u64,
    pass: u64,
    turns: Vec<usize>,
}

impl LlavaCorpus {
    /// Reads a file: a JSON list of objects with `id` (any text or number), `image` (a PNG or JPEG, relative to the file;
    /// left out for a question in words alone) and `conversations` (one turn of `human`, with one `<image>` where there is a
    /// picture, and one of `gpt`). Further keys are ignored.
    ///
    /// # Errors
    /// [`ImportError`] with every mistake of every row.
    pub fn load(path: &Path) -> Result<Self, ImportError> {
        let rows = list(path, "{id, image, conversations}")?;
        let (_, folder) = name_and_folder(path);
        let (mut turns, mut problems, mut memory) = (vec![], vec![], Memory::default());
        for (index, value) in rows.into_iter().enumerate() {
            let mut row = Row::open(index + 1, value, &KEYS);
            turns.extend(read_turn(&mut row, &folder, &mut memory));
            row.finish(&mut problems);
        }
        if !problems.is_empty() {
            return Err(ImportError::Rows {
                path: path.to_owned(),
                problems,
            });
        }
        Ok(Self {
            places: FilePlaces::new(path, (1..=turns.len()).map(|row| (row, CONVERSATIONS))),
            turns,
            order: Mutex::new(None),
        })
    }

    /// Questions with their answers.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether there are none; a file without any is refused.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Which turn comes at this place of this pass.
    fn turn(&self, seed: u64, pass: u64, place: usize) -> &Turn {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let known = order
            .take()
            .filter(|order| (order.seed, order.pass) == (seed, pass));
        let order = order.insert(known.unwrap_or_else(|| Order {
            seed,
            pass,
            turns: shuffled(self.turns.len(), seed, pass),
        }));
        &self.turns[order.turns[place]]
    }
}

/// The numbers below `count`, sorted by a hash of seed, pass and number.
fn shuffled(count: usize, seed: u64, pass: u64) -> Vec<usize> {
    let mut turns: Vec<usize> = (0..count).collect();
    turns.sort_by_cached_key(|&turn| {
        let mut hasher = blake3::Hasher::new();
        for part in [seed, pass, turn as u64] {
            hasher.update(&part.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    });
    turns
}

fn read_turn(row: &mut Row, folder: &Path, memory: &mut Memory) -> Option<Turn> {
    let has_image = row.has("image");
    let image = match has_image {
        true => Some(row.image("image", folder, memory, cutout::decode)),
        false => None,
    };
    let turns = row.dialogue(CONVERSATIONS)?;
    let [(first, asked), (second, answered)] = &turns[..] else {
        row.problem(
            CONVERSATIONS,
            format!("{} turns; one of human and one of gpt are needed", turns.len()),
        );
        return None;
    };
    if (first.as_str(), second.as_str()) != ("human", "gpt") {
        row.problem(
            CONVERSATIONS,
            format!("{first:?}, then {second:?}; human, then gpt is needed"),
        );
        return None;
    }
    let placeholders = asked.matches(IMAGE).count();
    if placeholders != usize::from(has_image) {
        let wanted = if has_image {
            "one, for its image"
        } else {
            "none, for there is no image"
        };
        row.problem(
            CONVERSATIONS,
            format!("{placeholders} {IMAGE} in what human says; {wanted}, is needed"),
        );
        return None;
    }
    let instruction = asked.replace(IMAGE, "").trim().to_owned();
    let completion = answered.trim().to_owned();
    if instruction.is_empty() || completion.is_empty() {
        row.problem(CONVERSATIONS, "blank; words are needed on both sides");
        return None;
    }
    Some(Turn {
        image: match image {
            None => None,
            // A picture that cannot be read was noted.
            Some(read) => Some(Arc::new(read?)),
        },
        instruction,
        completion,
    })
}

impl Corpus for LlavaCorpus {
    fn sample(&self, index: u64, seed: u64) -> CorpusSample {
        let count = self.turns.len() as u64;
        self.turn(seed, index / count, (index % count) as usize).sample()
    }

    fn products(&self) -> &[Product] {
        &[]
    }

    fn places(&self) -> Option<&FilePlaces> {
        Some(&self.places)
    }

    fn row(&self, index: usize) -> Option<CorpusSample> {
        self.turns.get(index).map(Turn::sample)
    }

    fn texts(&self) -> Vec<String> {
        let texts = self
            .turns
            .iter()
            .flat_map(|turn| [turn.instruction.clone(), turn.completion.clone()]);
        texts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;
    use std::{collections::BTreeSet, fs, path::PathBuf};
    use tempfile::TempDir;

    fn file(json: &str) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        RgbaImage::from_pixel(4, 4, Rgba([200, 30, 40, 255]))
            .save(folder.path().join("lamp.png"))
            .unwrap();
        let path = folder.path().join("train.json");
        fs::write(&path, json).unwrap();
        (folder, path)
    }

    fn turn(image: &str, human: &str, gpt: &str) -> String {
        format!(
            r#"{{"id": "a", {image} "conversations": [{{"from": "human", "value": "{human}"}}, {{"from": "gpt", "value": "{gpt}"}}]}}"#
        )
    }

    const LAMP: &str = r#""image": "lamp.png","#;

    #[test]
    fn questions_are_read_with_and_without_a_picture() {
        let rows = [
            turn(LAMP, "<image>\\nWhere does it stand?", "oak desk"),
            turn("", "Where does a lamp stand?", " on a desk "),
        ];
        let (_folder, path) = file(&format!("[{}]", rows.join(",")));
        let corpus = LlavaCorpus::load(&path).unwrap();
        let samples: Vec<_> = (0..2).map(|index| corpus.sample(index, 1)).collect();
        let shown = samples.iter().find(|sample| sample.image.is_some()).unwrap();
        assert_eq!(
            (&shown.instruction[..], &shown.completion[..]),
            ("Where does it stand?", "oak desk")
        );
        let told = samples.iter().find(|sample| sample.image.is_none()).unwrap();
        assert_eq!(
            (told.modality, &told.completion[..]),
            (Modality::Text, "on a desk")
        );
        assert_eq!(corpus.texts().len(), 4);
        assert_eq!(
            (corpus.row(0), corpus.row(2)),
            (Some(shown.clone()), None),
            "rows are those of the file, in its order"
        );
    }

    #[test]
    fn every_pass_has_each_turn_once_in_an_order_of_its_own() {
        let rows: Vec<_> = (0..20).map(|i| turn("", &format!("q{i}"), "a")).collect();
        let (_folder, path) = file(&format!("[{}]", rows.join(",")));
        let corpus = LlavaCorpus::load(&path).unwrap();
        let pass = |pass: u64, seed| -> Vec<String> {
            (pass * 20..pass * 20 + 20)
                .map(|index| corpus.sample(index, seed).instruction)
                .collect()
        };
        for (one, seed) in [(pass(0, 1), 1), (pass(1, 1), 1), (pass(0, 2), 2)] {
            assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), 20, "seed {seed}");
        }
        assert_ne!(pass(0, 1), pass(1, 1));
        assert_ne!(pass(0, 1), pass(0, 2));
        assert_eq!(pass(0, 1), pass(0, 1));
    }

    #[test]
    fn every_mistake_of_every_row_is_reported_with_its_key() {
        let rows = [
            turn(LAMP, "no placeholder", "a"),
            turn("", "<image> but no image", "a"),
            turn(r#""image": "gone.png","#, "<image> where?", "a"),
            turn(LAMP, "<image>", "a"),
            turn("", "q", "  "),
            r#"{"id": "a", "conversations": []}"#.to_owned(),
            r#"{"id": "a", "conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]}"#.to_owned(),
            r#"{"id": "a", "conversations": "q"}"#.to_owned(),
            r#"{"id": "a", "text": "q"}"#.to_owned(),
        ];
        let (_folder, path) = file(&format!("[{}]", rows.join(",")));
        let ImportError::Rows { problems, .. } = LlavaCorpus::load(&path).unwrap_err() else {
            panic!("rows are at fault");
        };
        let found: Vec<_> = problems.iter().map(|p| (p.row, p.key.as_str())).collect();
        let expected = [
            (1, "conversations"),
            (2, "conversations"),
            (3, "image"),
            (4, "conversations"),
            (5, "conversations"),
            (6, "conversations"),
            (7, "conversations"),
            (8, "conversations"),
            (9, "conversations"),
        ];
        assert_eq!(found, expected);
    }
}

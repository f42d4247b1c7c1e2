//! One row of an imported file: typed access to its keys, collecting mistakes instead of stopping at the first.

use super::{Memory, RowProblem};
use crate::CutoutError;
use crate::cutout::MAX_FILE_BYTES;
use common::{ProductId, with_causes};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fs, io, ops::Deref, path::Path};

/// The longest caption, in bytes: some seven hundred words. How many tokens a policy or reward model reads is theirs to say.
const MAX_CAPTION_BYTES: usize = 4096;

/// A row being read.
pub(crate) struct Row {
    number: usize,
    /// Whether the row is an object at all; otherwise its missing keys need no mention.
    is_object: bool,
    values: Map<String, Value>,
    problems: Vec<RowProblem>,
}

impl Row {
    /// Takes a row that may have the keys `known`; anything else in it is a mistake.
    pub(crate) fn new(number: usize, value: Value, known: &[&str]) -> Self {
        let mut row = Self::open(number, value, known);
        let unknown: Vec<_> = row
            .values
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in unknown {
            row.problem(&key, format!("unknown key; a row may have {}", known.join(", ")));
        }
        row
    }

    /// Takes a row of which the keys `known` are read and others ignored: files of others have more.
    pub(crate) fn open(number: usize, value: Value, known: &[&str]) -> Self {
        let mut row = Self {
            number,
            is_object: value.is_object(),
            values: Map::new(),
            problems: Vec::new(),
        };
        match value {
            Value::Object(values) => row.values = values,
            other => {
                row.problem(
                    "row",
                    format!(
                        "{} is not an object with the keys {}",
                        kind(&other),
                        known.join(", ")
                    ),
                );
            }
        }
        row
    }

    /// Notes a mistake.
    pub(crate) fn problem(&mut self, key: &str, reason: impl Into<String>) {
        self.problems.push(RowProblem {
            row: self.number,
            key: key.to_owned(),
            reason: reason.into(),
        });
    }

    /// A text that must be there and not be blank, trimmed.
    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        let text = self.optional_text(key);
        if text.is_none() && !self.values.contains_key(key) && self.is_object {
            self.problem(key, "missing; a text that is not blank is needed");
        }
        text
    }

    /// A text that may be left out, trimmed.
    pub(crate) fn optional_text(&mut self, key: &str) -> Option<String> {
        match self.values.get(key) {
            None => return None,
            Some(Value::String(text)) if !text.trim().is_empty() => return Some(text.trim().to_owned()),
            Some(Value::String(_)) => self.problem(key, "blank; a text that is not blank is needed"),
            Some(other) => {
                let reason = format!("{} is not a text; write it in quotes", kind(other));
                self.problem(key, reason);
            }
        }
        None
    }

    /// Whether the row is an object at all; otherwise that has been said.
    pub(crate) fn is_object(&self) -> bool {
        self.is_object
    }

    /// A value as it is.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Whether the row has a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A conversation in LLaVA's form, a list of `{from, value}`: who says what.
    pub(crate) fn dialogue(&mut self, key: &str) -> Option<Vec<(String, String)>> {
        const WANTED: &str = "a list of {from, value}, both texts, is needed";
        let Some(value) = self.values.get(key) else {
            if self.is_object {
                self.problem(key, format!("missing; {WANTED}"));
            }
            return None;
        };
        let text = |turn: &Value, key: &str| Some(turn.get(key)?.as_str()?.to_owned());
        let turns = value.as_array().and_then(|turns| {
            turns
                .iter()
                .map(|turn| Some((text(turn, "from")?, text(turn, "value")?)))
                .collect()
        });
        if turns.is_none() {
            let reason = format!("{} is no conversation; {WANTED}", kind(value));
            self.problem(key, reason);
        }
        turns
    }

    /// A caption: a text that must be there, of at most [`MAX_CAPTION_BYTES`] and without control characters.
    pub(crate) fn caption(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        if text.len() > MAX_CAPTION_BYTES {
            let reason = format!("{} bytes; at most {MAX_CAPTION_BYTES} are possible", text.len());
            self.problem(key, reason);
            return None;
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            let reason = format!(
                "contains the control character {}; use plain text",
                control.escape_unicode()
            );
            self.problem(key, reason);
            return None;
        }
        Some(text)
    }

    /// A whole number from 0.
    pub(crate) fn count(&mut self, key: &str) -> Option<u64> {
        let count = self.values.get(key).and_then(Value::as_u64);
        if count.is_none() && self.is_object {
            let found = self
                .values
                .get(key)
                .map_or("missing".to_owned(), Value::to_string);
            self.problem(key, format!("{found}; a whole number from 0 is needed"));
        }
        count
    }

    /// A product id.
    pub(crate) fn product_id(&mut self, key: &str) -> Option<ProductId> {
        let text = self.text(key)?;
        ProductId::new(text)
            .map_err(|error| self.problem(key, with_causes(&error)))
            .ok()
    }

    /// A product id that no earlier row has; `seen` maps ids to rows.
    pub(crate) fn new_product_id(
        &mut self,
        key: &str,
        seen: &mut BTreeMap<ProductId, usize>,
    ) -> Option<ProductId> {
        let id = self.product_id(key)?;
        if let Some(earlier) = seen.get(&id) {
            self.problem(
                key,
                format!(
                    "{:?} is already the id of row {earlier}; ids must be distinct",
                    id.as_str()
                ),
            );
            return None;
        }
        seen.insert(id.clone(), self.number);
        Some(id)
    }

    /// An image file, its path relative to `folder`, unless an earlier one exhausted `memory`.
    pub(crate) fn image<T: Deref<Target = [u8]>>(
        &mut self,
        key: &str,
        folder: &Path,
        memory: &mut Memory,
        decode: impl Fn(&[u8]) -> Result<T, CutoutError>,
    ) -> Option<T> {
        let path = self.text(key)?;
        self.picture(key, &path, folder, memory, decode)
    }

    /// The image file that `key` names, as [`image`](Self::image).
    pub(crate) fn picture<T: Deref<Target = [u8]>>(
        &mut self,
        key: &str,
        path: &str,
        folder: &Path,
        memory: &mut Memory,
        decode: impl Fn(&[u8]) -> Result<T, CutoutError>,
    ) -> Option<T> {
        let path = folder.join(path);
        if memory.is_exhausted() {
            return None;
        }
        let decoded = match read(&path) {
            Ok(bytes) => {
                decode(&bytes).map_err(|error| format!("{}: {}", path.display(), with_causes(&error)))
            }
            Err(error) => Err(format!(
                "cannot read {}: {error}; paths are relative to the file",
                path.display()
            )),
        };
        let kept = decoded.and_then(|picture| memory.take(picture));
        kept.map_err(|reason| self.problem(key, reason)).ok()
    }

    /// Hands over the mistakes found.
    pub(crate) fn finish(self, problems: &mut Vec<RowProblem>) {
        problems.extend(self.problems);
    }
}

/// The bytes of a plain file that may be a picture: a device never ends, and a pipe may never begin.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    match found.len() {
        _ if !found.is_file() => Err(io::Error::other("it is no plain file")),
        bytes if bytes > MAX_FILE_BYTES => Err(io::Error::other(format!(
            "{bytes} bytes; at most {MAX_FILE_BYTES} are possible"
        ))),
        _ => fs::read(path),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

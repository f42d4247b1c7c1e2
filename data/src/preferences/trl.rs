//! A pair as TRL's DPO trainer takes it: `images`, `prompt`, `chosen` and `rejected`, the latter three as texts or as
//! messages.

use super::{Preference, Said};
use crate::import::Row;
use serde_json::{Value, json};

pub(super) const KEYS: [&str; 4] = ["images", "prompt", "chosen", "rejected"];

/// A pair as a line of JSON, in messages, its image a path relative to the file of lines: `datasets.load_dataset("json")` with the column `images` cast to
/// `Sequence(Image())` is what `DPOTrainer` takes for a vision language model.
pub fn trl_line(image_path: &str, prompt: &str, preference: &Preference) -> String {
    let text = |text: &str| json!({"type": "text", "text": text});
    let answer = |answer: &str| json!([{"role": "assistant", "content": [text(answer)]}]);
    let line = json!({
        "images": [image_path],
        "prompt": [{"role": "user", "content": [{"type": "image"}, text(prompt)]}],
        "chosen": answer(&preference.chosen),
        "rejected": answer(&preference.rejected),
    });
    line.to_string()
}

pub(super) fn read(row: &mut Row) -> Option<Said> {
    let image = image(row);
    let prompt = said(row, "prompt", "user");
    let (chosen, rejected) = (
        said(row, "chosen", "assistant"),
        said(row, "rejected", "assistant"),
    );
    Some(Said {
        image_key: "images",
        image: image?,
        prompt_key: "prompt",
        prompt: prompt?,
        chosen_key: "chosen",
        chosen: chosen?,
        rejected: rejected?,
    })
}

/// The path of the one image.
fn image(row: &mut Row) -> Option<String> {
    let paths = row.value("images").and_then(Value::as_array);
    let path = match paths.map(Vec::as_slice) {
        Some([path]) => path.as_str().map(str::to_owned),
        _ => None,
    };
    if path.is_none() && row.is_object() {
        row.problem("images", "a list of one path is needed");
    }
    path
}

/// What `role` says: a text, or one message whose content is a text or a list of parts.
fn said(row: &mut Row, key: &str, role: &str) -> Option<String> {
    let text = match row.value(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(messages)) => match &messages[..] {
            [message] if message["role"] == role => content(&message["content"]),
            _ => None,
        },
        _ => None,
    };
    if text.is_none() && row.is_object() {
        row.problem(key, format!("a text or one message of {role} is needed"));
    }
    text
}

/// The words of a message.
fn content(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let words = parts.iter().filter(|part| part["type"] != "image");
            words.map(|part| part["text"].as_str()).collect()
        }
        _ => None,
    }
}

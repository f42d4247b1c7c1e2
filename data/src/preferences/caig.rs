//! A pair as CAIG's reward step writes it: one question, answered twice, each time as a whole conversation. AutoPP's set
//! has the same under singular names.

use super::Said;
use crate::import::Row;
use serde_json::Value;

pub(super) const KEYS: [&str; 4] = ["id", "image", "chosen_conversations", "reject_conversations"];

/// Chosen and rejected, plural and singular.
const NAMES: [(&str, &str); 2] = [
    ("chosen_conversations", "reject_conversations"),
    ("chosen_conversation", "reject_conversation"),
];

/// Whether a row is of this form.
pub(super) fn is_meant_by(row: &Value) -> bool {
    NAMES
        .iter()
        .any(|(chosen, rejected)| row.get(chosen).is_some() || row.get(rejected).is_some())
}

pub(super) fn read(row: &mut Row) -> Option<Said> {
    let singular = row.has(NAMES[1].0) || row.has(NAMES[1].1);
    let (chosen_key, rejected_key) = NAMES[usize::from(singular)];
    let image = row.text("image");
    let (chosen, rejected) = (answer(row, chosen_key), answer(row, rejected_key));
    let ((prompt, chosen), (other_prompt, rejected)) = (chosen?, rejected?);
    if prompt != other_prompt {
        row.problem(rejected_key, format!("another question than in {chosen_key}"));
        return None;
    }
    Some(Said {
        image_key: "image",
        image: image?,
        prompt_key: chosen_key,
        prompt,
        chosen_key,
        chosen,
        rejected,
    })
}

/// What human asks and gpt answers.
fn answer(row: &mut Row, key: &'static str) -> Option<(String, String)> {
    let turns = row.dialogue(key)?;
    match <[(String, String); 2]>::try_from(turns) {
        Ok([(human, asked), (gpt, answered)]) if human == "human" && gpt == "gpt" => Some((asked, answered)),
        _ => {
            row.problem(key, "one turn of human and then one of gpt are needed");
            None
        }
    }
}

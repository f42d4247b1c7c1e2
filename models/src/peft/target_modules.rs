//! `target_modules` of an adapter's configuration: which layers it is beside, in PEFT's words.

use serde_json::Value;

use super::wrong;
use crate::error::ModelError;
use crate::lora::HEAD;

/// Which modules PEFT looks at: those of the language model. A bare `q_proj` would also name the vision tower's.
const SCOPE: &str = r".*language_model.*\.";

/// The head: with transformers since 4.52 it stands beside the language model, before within it.
const OUTPUT: &str = r"(.*\.)?lm_head";

/// The text for an adapter of these layers. PEFT takes a text as a regular expression for whole module names, and a list as their ends.
pub(super) fn written(targets: &[String]) -> String {
    let projections: Vec<_> = targets
        .iter()
        .map(String::as_str)
        .filter(|target| *target != HEAD)
        .collect();
    let decoder = (!projections.is_empty()).then(|| format!("{SCOPE}({})", projections.join("|")));
    let head = targets
        .iter()
        .any(|target| target == HEAD)
        .then(|| OUTPUT.to_owned());
    decoder.into_iter().chain(head).collect::<Vec<_>>().join("|")
}

/// The layers that such a text names.
fn named(text: &str) -> Option<Vec<String>> {
    let (decoder, head) = match text.strip_suffix(OUTPUT) {
        Some(decoder) => (decoder.strip_suffix('|').unwrap_or(decoder), Some(HEAD)),
        None => (text, None),
    };
    let projections = match decoder {
        "" => None,
        decoder => Some(
            decoder
                .strip_prefix(SCOPE)?
                .strip_prefix('(')?
                .strip_suffix(')')?,
        ),
    };
    let names = projections
        .into_iter()
        .flat_map(|names| names.split('|'))
        .chain(head);
    Some(names.map(str::to_owned).collect())
}

/// The layers that a value names: the text that [`written`] gives, or a list of last names.
///
/// # Errors
/// [`ModelError::Adapter`] for anything else.
pub(super) fn read(value: Value) -> Result<Vec<String>, ModelError> {
    let listed: Option<Vec<String>> = match &value {
        Value::String(text) => named(text),
        Value::Array(names) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    listed.ok_or_else(|| {
        let expected = format!("{SCOPE}(q_proj|...) or a list of last names");
        wrong("target_modules", &value, &expected)
    })
}

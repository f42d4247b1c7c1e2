//! A `tokenizer.json` of somebody else, up to the library's reader: that breaks off in a panic where it finds other things than it expects, so
//! they are refused before.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::failed;
use crate::error::ModelError;

/// What the reader takes for granted: that the decoder is JSON, and that a table which a normalizer names is whole.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    /// Read for that alone.
    #[serde(default, rename = "decoder")]
    _decoder: Value,
}

/// The normalizer that comes with such a table. None of the models that are read here has it.
const WITH_TABLE: &str = "Precompiled";

/// Reads the bytes of a `tokenizer.json`.
///
/// # Errors
/// [`ModelError::Tokenizer`] when they are malformed, or describe what is not read here.
pub(crate) fn described(bytes: &[u8]) -> Result<Tokenizer, ModelError> {
    let parts = serde_json::from_slice::<Parts>(bytes);
    let refused = |reason| ModelError::Tokenizer { reason };
    let parts = parts.map_err(|error| refused(error.to_string()))?;
    if has(&parts.normalizer, WITH_TABLE) {
        let reason = format!("normalizer.type = {WITH_TABLE}: expected one without a table of its own");
        return Err(refused(reason));
    }
    Tokenizer::from_bytes(bytes).map_err(failed)
}

/// Whether a part, or one of those that it is made of, is of this type.
fn has(part: &Value, name: &str) -> bool {
    match part {
        Value::Object(keys) => {
            keys.get("type").is_some_and(|found| found == name) || keys.values().any(|inner| has(inner, name))
        }
        Value::Array(parts) => parts.iter().any(|inner| has(inner, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{SpecialTokens, Tokenizer as Ours};

    fn json() -> String {
        let corpus = ["an oak desk", "a stone table"];
        let trained = Ours::train(corpus.iter(), 270, SpecialTokens::default()).unwrap();
        trained.to_json().unwrap()
    }

    #[test]
    fn a_file_that_breaks_off_anywhere_is_refused() {
        let json = json();
        assert!(json.contains("\"decoder\"") && described(json.as_bytes()).is_ok());
        for end in 0..json.trim_end().len() {
            assert!(
                described(&json.as_bytes()[..end]).is_err(),
                "{end} bytes are enough"
            );
        }
    }

    #[test]
    fn a_normalizer_with_a_table_of_its_own_is_refused_also_within_others() {
        let mut file: Value = serde_json::from_str(&json()).unwrap();
        let table = serde_json::json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" });
        let among = serde_json::json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }, table] });
        for normalizer in [table, among] {
            file["normalizer"] = normalizer;
            let error = described(file.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains("Precompiled"), "{error}");
        }
    }
}

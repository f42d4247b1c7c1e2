//! A `tokenizer.json` of somebody else, up to the library's reader: that breaks off in a panic where it finds other things than it expects, so
//! they are refused before.

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::failed;
use crate::error::ModelError;

/// What the reader takes for granted: that the decoder is JSON, and that a table which a normalizer names is whole; and what is not
/// done here.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    model: Model,
}

#[derive(Default, Deserialize)]
struct Model {
    /// The share of merges that are left out, drawn anew at each use.
    #[serde(default)]
    dropout: Option<f64>,
}

/// The normalizer that comes with such a table, and the key of that. None of the models that are read here has it.
const WITH_TABLE: &str = "Precompiled";
const TABLE: &str = "precompiled_charsmap";

/// Under which key a part has those that it is made of.
const MEMBERS: [&str; 4] = ["normalizers", "pretokenizers", "processors", "decoders"];

/// How many times longer a part may make a text: Llama's normalizer puts three bytes where one was. A few lines of a file double a text as
/// often as they like, and that is more than any memory.
const MOST_GROWTH: f64 = 64.0;

/// Reads the bytes of a `tokenizer.json`.
///
/// # Errors
/// [`ModelError::Tokenizer`] when they are malformed, or describe what is not read here.
pub(crate) fn described(bytes: &[u8]) -> Result<Tokenizer, ModelError> {
    let parts = serde_json::from_slice::<Parts>(bytes);
    let refused = |reason| ModelError::Tokenizer { reason };
    let parts = parts.map_err(|error| refused(error.to_string()))?;
    for (name, part) in [
        ("normalizer", &parts.normalizer),
        ("pre_tokenizer", &parts.pre_tokenizer),
        ("post_processor", &parts.post_processor),
        ("decoder", &parts.decoder),
    ] {
        let all = all_parts(part).ok_or_else(|| refused(format!("{name}: expected objects with a type")))?;
        if all.iter().any(|part| has_table(part)) {
            let reason = format!("{name}.type = {WITH_TABLE}: expected one without a table of its own");
            return Err(refused(reason));
        }
        let growth: f64 = all.iter().map(|part| growth(part)).product();
        if growth > MOST_GROWTH {
            let reason = format!(
                "{name}: it may make a text {growth:.0} times longer, expected at most {MOST_GROWTH}"
            );
            return Err(refused(reason));
        }
    }
    if let Some(dropout) = parts.model.dropout.filter(|share| *share != 0.0) {
        let reason =
            format!("model.dropout = {dropout}: expected none, for equal texts are equal tokens here");
        return Err(refused(reason));
    }
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(failed)?;
    // A file that was saved after use has them; here nothing is cut in silence, and rows are filled elsewhere.
    tokenizer.with_truncation(None).map_err(failed)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// A part and those that it is made of; `None` where one is no object: the library takes values without their keys, too.
fn all_parts(part: &Value) -> Option<Vec<&Map<String, Value>>> {
    let keys = match part {
        Value::Null => return Some(vec![]),
        Value::Object(keys) => keys,
        _ => return None,
    };
    let members = MEMBERS.iter().filter_map(|key| keys.get(*key)?.as_array());
    let mut all = vec![keys];
    for member in members.flatten() {
        all.extend(all_parts(member)?);
    }
    Some(all)
}

/// How many times longer than a text what a part may make of it. The library takes one without a type for what its keys fit, so they are
/// looked at where they tell.
fn growth(keys: &Map<String, Value>) -> f64 {
    let text = |key| keys.get(key).and_then(Value::as_str);
    let replaced = match (keys.get("pattern"), text("content")) {
        (Some(pattern), Some(put)) => match pattern.get("String").and_then(Value::as_str) {
            Some(found) if !found.is_empty() => (put.len() as f64 / found.len() as f64).max(1.0),
            // It may be found between any two characters.
            _ => 1.0 + put.len() as f64,
        },
        _ => 1.0,
    };
    // Decoders that put a blank there.
    let parted = match text("suffix") == Some("") || text("word_delimiter_token") == Some("") {
        true => 2.0,
        false => 1.0,
    };
    // A template may have the text more than once.
    let pieces = keys.get("single").and_then(Value::as_array).into_iter().flatten();
    let texts = pieces.filter(|piece| piece.get("Sequence").is_some()).count();
    let rewritten = match text("type") {
        _ if keys.contains_key("handle_chinese_chars") => 8.0,
        // Bytes of UTF-8 for one, at most: of Unicode's forms as its Annex 15 says.
        Some("NFC" | "NFD") => 3.0,
        Some("NFKC" | "NFKD") => 11.0,
        Some("Lowercase") => 1.5,
        Some("ByteLevel") => 2.0,
        _ => 1.0,
    };
    replaced * parted * (texts as f64).max(1.0) * rewritten
}

/// Whether a part has such a table.
fn has_table(keys: &Map<String, Value>) -> bool {
    keys.contains_key(TABLE) || keys.get("type").is_some_and(|found| found == WITH_TABLE)
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

    /// The file with another value in a place of it.
    fn with(place: &str, value: Value) -> Result<Tokenizer, ModelError> {
        let mut file: Value = serde_json::from_str(&json()).unwrap();
        *file.pointer_mut(place).unwrap() = value;
        described(file.to_string().as_bytes())
    }

    #[test]
    fn what_makes_a_text_longer_without_end_or_differs_from_use_to_use_is_refused() {
        let replace =
            |from: Value, to: &str| serde_json::json!({ "type": "Replace", "pattern": from, "content": to });
        let text = |from: &str| serde_json::json!({ "String": from });
        let all =
            |normalizers: Vec<Value>| serde_json::json!({ "type": "Sequence", "normalizers": normalizers });
        let llamas = vec![
            serde_json::json!({ "type": "Prepend", "prepend": "▁" }),
            replace(text(" "), "▁"),
        ];
        assert!(with("/normalizer", all(llamas)).is_ok());
        let anywhere = serde_json::json!({ "Regex": "x*" });
        for endless in [
            all(vec![replace(text("a"), "aa"); 40]),
            replace(text("a"), &"a".repeat(100)),
            replace(anywhere, &"a".repeat(100)),
        ] {
            let error = with("/normalizer", endless).unwrap_err().to_string();
            assert!(
                error.contains("normalizer") && error.contains("at most 64"),
                "{error}"
            );
        }
        let many =
            |parts: &str, part: Value| serde_json::json!({ "type": "Sequence", parts: vec![part; 40] });
        // The library takes it for a replacement without its type, too.
        let untyped = serde_json::json!({ "pattern": text("a"), "content": "aa" });
        let bytes = serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
        });
        let piece = serde_json::json!({ "Sequence": { "id": "A", "type_id": 0 } });
        let pair = serde_json::json!([piece, { "Sequence": { "id": "B", "type_id": 0 } }]);
        let template = serde_json::json!({
            "type": "TemplateProcessing", "single": [piece, piece], "pair": pair, "special_tokens": {}
        });
        let between = serde_json::json!({ "type": "BPEDecoder", "suffix": "" });
        for (place, endless) in [
            ("/normalizer", many("normalizers", untyped)),
            ("/pre_tokenizer", many("pretokenizers", bytes)),
            ("/post_processor", many("processors", template)),
            ("/decoder", many("decoders", replace(text(" "), "  "))),
            ("/decoder", many("decoders", between)),
        ] {
            let error = with(place, endless).unwrap_err().to_string();
            let named = format!("{}: it may make a text", &place[1..]);
            assert!(error.contains(&named), "{error}");
        }
        // Nor does it need their keys.
        let keyless = many("normalizers", serde_json::json!([text("a"), "aa"]));
        let error = with("/normalizer", keyless).unwrap_err().to_string();
        assert!(error.contains("normalizer: expected objects"), "{error}");
        let error = with("/model/dropout", 0.1.into()).unwrap_err().to_string();
        assert!(error.contains("model.dropout = 0.1"), "{error}");
    }

    #[test]
    fn what_a_file_says_of_cutting_and_filling_up_is_left_out() {
        let cut = serde_json::json!({
            "direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 5
        });
        let fill = serde_json::json!({
            "strategy": { "Fixed": 1_000_000_000_000_u64 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
        });
        let ids = |tokenizer: &Tokenizer| tokenizer.encode("an oak desk", false).unwrap().get_ids().to_vec();
        let plain = described(json().as_bytes()).unwrap();
        for (place, value) in [("/truncation", cut), ("/padding", fill)] {
            let tokenizer = with(place, value).unwrap();
            assert_eq!(ids(&tokenizer), ids(&plain), "{place}");
        }
    }

    #[test]
    fn a_normalizer_with_a_table_of_its_own_is_refused_also_within_others() {
        let mut file: Value = serde_json::from_str(&json()).unwrap();
        let table = serde_json::json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" });
        let among = serde_json::json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }, table] });
        let untyped = serde_json::json!({ "precompiled_charsmap": "AAAA" });
        for normalizer in [table, among, untyped] {
            file["normalizer"] = normalizer;
            let error = described(file.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains("Precompiled"), "{error}");
        }
    }
}

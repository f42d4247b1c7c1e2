//! What somebody else's configuration leaves out, and what of it is not built here.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ModelError;

/// Puts in the values of keys that are absent or null: what a file leaves out is its library's default.
pub(crate) fn complete(map: &mut Map<String, Value>, defaults: Value) {
    let Value::Object(defaults) = defaults else { return };
    for (key, value) in defaults {
        let given = map.entry(key).or_insert(Value::Null);
        if given.is_null() {
            *given = value;
        }
    }
}

/// Refuses a key that asks for something else than what our networks do.
pub(crate) fn require(
    map: &Map<String, Value>,
    table: &str,
    rules: &[(&str, Value)],
) -> Result<(), ModelError> {
    for (key, expected) in rules {
        match map.get(*key) {
            None | Some(Value::Null) => {}
            Some(found) if is_same(found, expected) => {}
            Some(found) => {
                let reason =
                    format!("{table}{key} = {found}: expected {expected}, other networks are not built here");
                return Err(ModelError::Foreign { reason });
            }
        }
    }
    Ok(())
}

/// What a configuration says, as a type of ours that takes its keys by their names.
///
/// # Errors
/// [`ModelError::Foreign`] with the key that is missing or has another type.
pub(crate) fn parse<T: DeserializeOwned>(map: Map<String, Value>) -> Result<T, ModelError> {
    serde_json::from_value(Value::Object(map)).map_err(|error| ModelError::Foreign {
        reason: error.to_string(),
    })
}

/// Equal values, a number written with or without a fraction being one.
fn is_same(found: &Value, expected: &Value) -> bool {
    let numbers = (found.as_f64(), expected.as_f64());
    found == expected || matches!(numbers, (Some(found), Some(expected)) if found == expected)
}

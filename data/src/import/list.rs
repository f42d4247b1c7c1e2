//! Files that are one JSON list.

use super::ImportError;
use serde_json::Value;
use std::{fs, path::Path};

/// The rows of a file that is one JSON list of at least one object; `objects` says what they are, such as `{id, image}`.
///
/// # Errors
/// [`ImportError::Unreadable`] or [`ImportError::Malformed`].
pub(crate) fn list(path: &Path, objects: &str) -> Result<Vec<Value>, ImportError> {
    let bytes = fs::read(path).map_err(|source| ImportError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let malformed = |reason: String| ImportError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let wanted = format!("a JSON list of {objects} is needed");
    match serde_json::from_slice(&bytes) {
        Ok(Value::Array(rows)) if rows.is_empty() => Err(malformed(format!("the list is empty; {wanted}"))),
        Ok(Value::Array(rows)) => Ok(rows),
        Ok(_) => Err(malformed(format!("not a list; {wanted}"))),
        Err(error) => Err(malformed(format!("not JSON ({error}); {wanted}"))),
    }
}

//! Settings that decide what becomes of tasks, as somebody states them.

use super::InvalidMessage;
use crate::told::at_most;
use common::DecidingSettings;
use std::collections::BTreeMap;

/// The most settings that are stated at once: the program knows some forty.
const MAX_SETTINGS: usize = 256;

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 128;

/// The longest value, in bytes: a question of a thousand characters, of which some take six bytes, is the longest that a configuration has.
const MAX_VALUE_BYTES: usize = 8 << 10;

/// Settings that are stated in `field`.
///
/// # Errors
/// [`InvalidMessage`] when they are too many or too long, or a key is none.
pub fn deciding_settings(
    field: &'static str,
    settings: BTreeMap<String, String>,
) -> Result<DecidingSettings, InvalidMessage> {
    at_most(field, MAX_SETTINGS, settings.len())?;
    if !settings.keys().all(|key| is_key(key)) {
        let reason = format!("a key is 1 to {MAX_KEY_BYTES} small letters, digits, underscores and points");
        return Err(InvalidMessage::new(field, reason));
    }
    match settings.iter().find(|(_, value)| value.len() > MAX_VALUE_BYTES) {
        Some((key, value)) => {
            let reason = format!("{key}: {} bytes, expected at most {MAX_VALUE_BYTES}", value.len());
            Err(InvalidMessage::new(field, reason))
        }
        None => Ok(settings.into()),
    }
}

fn is_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(settings: impl IntoIterator<Item = (String, String)>) -> Result<DecidingSettings, String> {
        let taken = deciding_settings("join_request.settings", settings.into_iter().collect());
        taken.map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_taken_as_they_are_stated() {
        let stated = [("actor.top_p".to_owned(), "1.0".to_owned())];
        let settings: BTreeMap<_, _> = taken(stated.clone()).unwrap().into();
        assert_eq!(settings, stated.into());
        assert_eq!(taken([]).unwrap(), DecidingSettings::default());
    }

    #[test]
    fn too_many_too_long_and_keys_that_are_none_are_refused_by_their_field() {
        let many = |count: usize| (0..count).map(|number| (format!("actor.k{number}"), String::new()));
        assert!(taken(many(MAX_SETTINGS)).is_ok());
        assert!(taken(many(MAX_SETTINGS + 1)).unwrap_err().contains("257 entries"));
        let of = |key: &str, bytes: usize| taken([(key.to_owned(), "v".repeat(bytes))]);
        assert!(of("diffusion.box", MAX_VALUE_BYTES).is_ok());
        let refusal = of("diffusion.box", MAX_VALUE_BYTES + 1).unwrap_err();
        assert!(
            refusal.contains("join_request.settings") && refusal.contains("diffusion.box"),
            "{refusal}"
        );
        for key in [
            "",
            "actor temperature",
            "Actor",
            "a\n",
            &"k".repeat(MAX_KEY_BYTES + 1),
        ] {
            assert!(of(key, 1).unwrap_err().contains("a key is"), "{key:?}");
        }
    }
}

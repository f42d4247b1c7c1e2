//! Figures of a version that somebody measured.

use super::InvalidMessage;
use std::collections::BTreeMap;

/// The most figures of a version, and the longest name of one in bytes.
const MAX_FIGURES: usize = 64;
const MAX_NAME_BYTES: usize = 64;

/// Checks figures by name.
///
/// # Errors
/// [`InvalidMessage`] when there are none or too many, or one is named badly or not finite.
pub fn figures(
    field: &'static str,
    values: BTreeMap<String, f64>,
) -> Result<BTreeMap<String, f64>, InvalidMessage> {
    if !(1..=MAX_FIGURES).contains(&values.len()) {
        let reason = format!("{} figures, expected 1 to {MAX_FIGURES}", values.len());
        return Err(InvalidMessage::new(field, reason));
    }
    for (name, value) in &values {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_plain) {
            let reason = format!("a name is 1 to {MAX_NAME_BYTES} small letters, digits and underscores");
            return Err(InvalidMessage::new(field, reason));
        }
        if !value.is_finite() {
            return Err(InvalidMessage::new(field, format!("{name} is {value}")));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_plain_names_and_are_numbers() {
        let of = |name: &str, value| figures("values", [(name.to_owned(), value)].into());
        assert!(of("true_ctr", 0.25).is_ok());
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for (name, value) in [
            ("", 1.0),
            ("Reward", 1.0),
            ("a b", 1.0),
            ("a\u{1b}", 1.0),
            (&long, 1.0),
            ("a", f64::NAN),
        ] {
            assert_eq!(of(name, value).unwrap_err().field, "values", "{name:?}");
        }
        assert!(figures("values", BTreeMap::new()).is_err());
        let many = (0..=MAX_FIGURES).map(|number| (format!("f{number}"), 0.0));
        assert!(figures("values", many.collect()).is_err());
    }
}

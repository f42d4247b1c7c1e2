//! What a peer tells for people and scripts: texts, names, counts and figures, checked where they come in, so that whoever shows them
//! need not look at them again.

use crate::InvalidMessage;
use std::collections::BTreeMap;

/// The longest text that is repeated, in bytes; of a longer one the rest is left out.
const MAX_SAID_BYTES: usize = 4 << 10;

/// The most entries of one table by name, and the longest name in bytes: a digest has 71.
const MAX_NAMES: usize = 1024;
const MAX_NAME_BYTES: usize = 128;

/// The most figures of a version that somebody reports, and the longest name of one in bytes.
const MAX_FIGURES: usize = 64;
const MAX_FIGURE_NAME_BYTES: usize = 64;

/// Whether a character orders a terminal about, breaks a line or turns the direction of writing.
pub fn is_order(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text as a terminal may have it, on one line: with spaces for its orders.
pub fn one_line(text: &str) -> String {
    text.replace(is_order, " ")
}

/// What somebody says for people, on one line and not too long; `None` where that is nothing.
pub fn said(text: &str) -> Option<String> {
    match text.len() {
        0 => None,
        1..=MAX_SAID_BYTES => Some(one_line(text)),
        _ => {
            let begin = &text[..text.floor_char_boundary(MAX_SAID_BYTES)];
            Some(format!("{}…", one_line(begin)))
        }
    }
}

/// Refuses more than `most` entries.
pub(crate) fn at_most(field: &'static str, most: usize, found: usize) -> Result<(), InvalidMessage> {
    match found > most {
        true => Err(InvalidMessage::new(
            field,
            format!("{found} entries, expected at most {most}"),
        )),
        false => Ok(()),
    }
}

/// Counts by name, whose sum is a count too.
pub(crate) fn counts(
    field: &'static str,
    counts: BTreeMap<String, u64>,
) -> Result<BTreeMap<String, u64>, InvalidMessage> {
    at_most(field, MAX_NAMES, counts.len())?;
    if !counts.keys().all(|name| is_name(name)) {
        let reason = format!("a name is 1 to {MAX_NAME_BYTES} letters, digits and signs of ASCII");
        return Err(InvalidMessage::new(field, reason));
    }
    let sum = counts
        .values()
        .try_fold(0_u64, |sum, count| sum.checked_add(*count));
    match sum {
        Some(_) => Ok(counts),
        None => Err(InvalidMessage::new(
            field,
            format!("together more than {}", u64::MAX),
        )),
    }
}

/// Figures of a version by name, as its run tells them: there may be none.
pub(crate) fn measured(
    field: &'static str,
    values: BTreeMap<String, f64>,
) -> Result<BTreeMap<String, f64>, InvalidMessage> {
    at_most(field, MAX_NAMES, values.len())?;
    values
        .iter()
        .try_for_each(|(name, value)| check_figure(field, name, *value))?;
    Ok(values)
}

/// Figures of a version by name, as somebody reports them.
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
    measured(field, values)
}

fn check_figure(field: &'static str, name: &str, value: f64) -> Result<(), InvalidMessage> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=MAX_FIGURE_NAME_BYTES).contains(&name.len()) || !name.bytes().all(is_plain) {
        let reason = format!("a name is 1 to {MAX_FIGURE_NAME_BYTES} small letters, digits and underscores");
        return Err(InvalidMessage::new(field, reason));
    }
    match value.is_finite() {
        true => Ok(()),
        false => Err(InvalidMessage::new(
            field,
            format!("{name} is {value}, expected a finite number"),
        )),
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Orders to a terminal in 7 and in 8 bits, a bell, line breaks of three kinds, and text that is written from right to left.
    const ORDERS: &str = "\u{1b}[2J\u{9b}31m\u{7}\r\n\u{85}\u{2028}\u{202e}\u{2066}\u{7f}\0";

    fn refused<T: std::fmt::Debug>(result: Result<T, InvalidMessage>) -> InvalidMessage {
        let refusal = result.unwrap_err();
        assert_eq!(refusal.field, "field");
        refusal
    }

    #[test]
    fn a_text_orders_no_terminal_about_and_stays_on_one_line() {
        assert_eq!(one_line("no pairs: 黑豆, café"), "no pairs: 黑豆, café");
        assert_eq!(one_line(ORDERS), format!(" [2J 31m{}", " ".repeat(9)));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_and_an_empty_one_is_none() {
        assert_eq!(said(""), None);
        let long = "é".repeat(MAX_SAID_BYTES);
        let cut = said(&long).unwrap();
        assert_eq!(cut.chars().count(), MAX_SAID_BYTES / 2 + 1);
        assert!(cut.ends_with('…'));
        let whole = "x".repeat(MAX_SAID_BYTES);
        assert_eq!(said(&whole).unwrap(), whole);
    }

    #[test]
    fn counts_have_names_that_can_be_shown_and_a_sum() {
        let of =
            |name: &str, count| counts("field", [(name.to_owned(), count), ("tie".to_owned(), 1)].into());
        assert!(of("low_margin", u64::MAX - 1).is_ok());
        assert!(of(&format!("blake3:{}", "0".repeat(64)), 1).is_ok());
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for name in ["", "two words", "\u{1b}[2J", "a\nb", "黑豆", long.as_str()] {
            assert!(refused(of(name, 1)).reason.contains("a name is"), "{name:?}");
        }
        assert!(refused(of("low_margin", u64::MAX)).reason.contains("together"));
        let many = (0..=MAX_NAMES).map(|number| (format!("n{number}"), 0));
        assert!(
            refused(counts("field", many.collect()))
                .reason
                .contains("1025 entries")
        );
    }

    #[test]
    fn figures_have_plain_names_and_are_numbers() {
        let of = |name: &str, value| figures("field", [(name.to_owned(), value)].into());
        assert!(of("true_ctr", 0.25).is_ok());
        let long = "a".repeat(MAX_FIGURE_NAME_BYTES + 1);
        for (name, value) in [
            ("", 1.0),
            ("Reward", 1.0),
            ("a b", 1.0),
            ("a\u{1b}", 1.0),
            (&long, 1.0),
            ("a", f64::NAN),
            ("a", f64::NEG_INFINITY),
        ] {
            refused(of(name, value));
        }
        refused(figures("field", BTreeMap::new()));
        let many = |count| (0..count).map(|number| (format!("f{number}"), 0.0)).collect();
        refused(figures("field", many(MAX_FIGURES + 1)));
        // What a run tells of itself is more than anybody reports, and may be nothing.
        assert!(measured("field", many(MAX_FIGURES + 1)).is_ok() && measured("field", many(0)).is_ok());
        refused(measured("field", many(MAX_NAMES + 1)));
    }

    proptest! {
        #[test]
        fn whatever_is_said_can_be_shown(text in any::<String>()) {
            let shown = said(&text).unwrap_or_default();
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            prop_assert_eq!(one_line(&shown), shown);
        }
    }
}

//! Numbers as people read them: a fixed number of digits, so that columns line up and nothing jumps when a value changes.

use common::Digest;
use std::time::Duration;

/// A count, in groups of three digits.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with three significant places behind the point, or fewer when it is large.
pub(super) fn number(value: f64) -> String {
    // Nothing has no sign.
    let value = value + 0.0;
    let text = match value.abs() {
        huge if !huge.is_finite() => "–".to_owned(),
        large if large >= 1000.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.2}"),
        small if small > 0.0 && small < 0.0005 => format!("{value:.1e}"),
        _ => format!("{value:.3}"),
    };
    // A hyphen is narrower than a digit, and read as a hyphen.
    text.replace('-', "\u{2212}")
}

/// The same with its sign.
pub(super) fn signed(value: f64) -> String {
    match value >= 0.0 {
        true => format!("+{}", number(value)),
        false => number(value),
    }
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// How long something has lasted.
pub(super) fn ago(time: Duration) -> String {
    match time.as_secs() {
        0..2 => "now".into(),
        seconds @ 2..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3600),
    }
}

/// The beginning of a digest, enough to tell two apart.
pub(super) fn short(digest: &str) -> &str {
    let end = digest.char_indices().nth(19).map_or(digest.len(), |(end, _)| end);
    if digest.starts_with("blake3:") {
        &digest[..end]
    } else {
        digest
    }
}

/// The same of a digest.
pub(super) fn short_digest(digest: &Digest) -> String {
    short(&digest.to_string()).to_owned()
}

/// A reason's name in words.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_same_width_and_a_real_minus() {
        assert_eq!(
            [0, 999, 1000, 1234567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        let shown = [0.25, -0.125, 12.345, 1234.5, 0.00001, f64::NAN].map(number);
        assert_eq!(
            shown,
            ["0.250", "\u{2212}0.125", "12.35", "1234", "1.0e\u{2212}5", "–"]
        );
        assert_eq!(
            [0.0, -0.0, -1.0].map(signed),
            ["+0.000", "+0.000", "\u{2212}1.000"]
        );
        assert_eq!(
            short(&Digest::from_bytes([0xab; 32]).to_string()),
            "blake3:abababababab"
        );
        assert_eq!(
            [1, 90, 600, 9000].map(|s| ago(Duration::from_secs(s))),
            ["now", "90 s ago", "10 min ago", "2 h ago"]
        );
    }
}

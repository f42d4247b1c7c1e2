//! Settings that cannot be used: what the check of every configuration table collects, so that all mistakes of all tables
//! are told at once and in the same words.

use std::fmt::{self, Debug, Display};
use std::ops::RangeInclusive;

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    /// The key within its table, such as `loss.beta`.
    pub key: String,
    /// What it was.
    pub value: String,
    /// What is wrong or what would be right.
    pub reason: String,
}

impl Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.key, self.value, self.reason)
    }
}

/// Settings of one table that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct InvalidConfig {
    /// Every mistake; at least one.
    pub problems: Vec<InvalidSetting>,
}

fn lines(problems: &[InvalidSetting]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Collects the mistakes of one table.
#[derive(Debug, Default)]
pub struct SettingsCheck {
    problems: Vec<InvalidSetting>,
}

impl SettingsCheck {
    /// Notes a mistake unless the value is `good`; `wanted` says what would be right.
    pub fn require(&mut self, good: bool, key: &str, value: impl Debug, wanted: impl Display) {
        if !good {
            self.note(key, value, format!("expected {wanted}"));
        }
    }

    /// Notes a mistake unless the value lies in `range`, in `unit` where it has one. NaN lies in no range.
    pub fn within<T: PartialOrd + Debug>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
        unit: &str,
    ) {
        let good = range.contains(&value);
        let (low, high) = range.into_inner();
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(" ({unit})")
        };
        self.require(
            good,
            key,
            value,
            format!("{} to {}{unit}", plain(low), plain(high)),
        );
    }

    /// Notes a mistake in words of its own.
    pub fn note(&mut self, key: &str, value: impl Debug, reason: impl Display) {
        self.problems.push(InvalidSetting {
            key: key.to_owned(),
            value: plain(value),
            reason: reason.to_string(),
        });
    }

    /// Whether no mistake was noted so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The mistakes found, if there are any.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all of them.
    pub fn finish(self) -> Result<(), InvalidConfig> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(InvalidConfig {
                problems: self.problems,
            })
        }
    }
}

/// A value as TOML would show it, but for whole numbers, which need no point.
fn plain(value: impl Debug) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(check: SettingsCheck) -> Vec<String> {
        let found = check
            .finish()
            .err()
            .map(|error| error.problems)
            .unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_mistake_tells_key_value_and_range_in_short_numbers() {
        let mut check = SettingsCheck::default();
        check.within("group_size", 1, 2..=64, "");
        check.within("patch", 500, 1..=400, "pixels");
        check.within("epsilon", 1e-60, 1e-20..=1.0, "");
        check.within("beta", -1.0, 0.0..=1e300, "");
        check.require(false, "id", "a b", "no blank");
        assert_eq!(
            problems(check),
            [
                "group_size = 1: expected 2 to 64",
                "patch = 500: expected 1 to 400 (pixels)",
                "epsilon = 1e-60: expected 1e-20 to 1",
                "beta = -1: expected 0 to 1e300",
                "id = \"a b\": expected no blank",
            ]
        );
    }

    #[test]
    fn nothing_that_is_no_number_lies_in_a_range() {
        let mut check = SettingsCheck::default();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            check.within("x", value, -1e300..=1e300, "");
        }
        assert_eq!(problems(check).len(), 3);
        let mut fine = SettingsCheck::default();
        fine.within("x", 0.0, 0.0..=0.0, "");
        assert_eq!(fine.finish(), Ok(()));
    }
}

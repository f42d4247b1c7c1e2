//! Settings that decide what becomes of a task, as text by key: what roles compare that know nothing of each other's tables.
//!
//! Which settings those are is said where each table is defined. Values are only compared, never read: text is the same where values are.

use crate::Digest;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What tells the digest of what a file holds that a setting names: its key is the setting's with this behind it.
const CONTENTS: &str = ".digest";

/// The settings that name files which decide what becomes of a task, and which only actors read.
const NAMING_FILES: [&str; 5] = [
    "actor.guardrails.text_blocklist",
    "actor.guardrails.image_blocklist",
    "diffusion.model",
    "diffusion.controlnet",
    "diffusion.lora",
];

/// The longest part of a value that is shown, in characters: one in which two that differ do.
const SHOWN: usize = 40;

/// Settings that decide what becomes of a task, each with its value, as somebody states them; none where nothing is stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecidingSettings(BTreeMap<String, String>);

/// A setting that two state differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSetting {
    /// Its key, table included.
    pub key: String,
    /// What is stated now, as it is shown.
    pub stated: String,
    /// What it is compared with, likewise.
    pub expected: String,
}

/// A setting's value as it is stated: as JSON writes it, so that the text is the same where the value is.
pub fn stated(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values have a JSON form")
}

impl DecidingSettings {
    /// Those of a table, by their keys within it.
    pub fn of_table<'a>(table: &str, settings: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let entries = settings.into_iter();
        Self(
            entries
                .map(|(key, value)| (format!("{table}.{key}"), value))
                .collect(),
        )
    }

    /// What the file, or the files, hold that a setting names.
    pub fn of_contents(key: &str, digest: Digest) -> Self {
        Self([(format!("{key}{CONTENTS}"), digest.to_string())].into())
    }

    /// What these tell of files' contents: no more than there can be, and digests only.
    #[must_use]
    pub fn contents(&self) -> Self {
        let told = NAMING_FILES.iter().filter_map(|key| {
            let (key, digest) = self.0.get_key_value(&format!("{key}{CONTENTS}"))?;
            digest.parse::<Digest>().ok()?;
            Some((key.clone(), digest.clone()))
        });
        Self(told.collect())
    }

    /// Those of these that `others` do not state at all.
    #[must_use]
    pub fn unknown_to(&self, others: &Self) -> Self {
        let unknown = self.0.iter().filter(|(key, _)| !others.0.contains_key(*key));
        Self(unknown.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Their keys, tables included, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What these state otherwise than `expected`. What only one of them states is not compared: one is of another version of the
    /// program, which does not know the key, or the setting is none of the other's affairs.
    pub fn others_than(&self, expected: &Self) -> Vec<OtherSetting> {
        let both = expected
            .0
            .iter()
            .filter_map(|(key, expected)| Some((key, self.0.get(key)?, expected)));
        let other = both.filter(|(_, stated, expected)| stated != expected);
        let told = other.map(|(key, stated, expected)| {
            let from = worth_showing(stated, expected);
            OtherSetting {
                key: key.clone(),
                stated: shown(stated, from),
                expected: shown(expected, from),
            }
        });
        told.collect()
    }
}

impl From<BTreeMap<String, String>> for DecidingSettings {
    fn from(settings: BTreeMap<String, String>) -> Self {
        Self(settings)
    }
}

impl From<DecidingSettings> for BTreeMap<String, String> {
    fn from(settings: DecidingSettings) -> Self {
        settings.0
    }
}

impl fmt::Display for OtherSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.stated)
    }
}

/// From which byte on two values are shown: from the first, unless they differ behind all that is shown then.
fn worth_showing(stated: &str, expected: &str) -> usize {
    let both = stated.char_indices().zip(expected.chars());
    let alike: Vec<usize> = both
        .take_while(|((_, one), other)| one == other)
        .map(|((at, _), _)| at)
        .collect();
    match alike.len() {
        ..SHOWN => 0,
        count => alike[count - SHOWN / 2],
    }
}

/// A value from a byte on, or the beginning of that.
fn shown(value: &str, from: usize) -> String {
    let (before, rest) = (if from > 0 { "…" } else { "" }, &value[from..]);
    match rest.char_indices().nth(SHOWN) {
        None => format!("{before}{rest}"),
        Some((end, _)) => format!("{before}{}…", &rest[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(settings: &[(&'static str, &str)]) -> DecidingSettings {
        let settings = settings.iter().map(|&(key, value)| (key, value.to_owned()));
        DecidingSettings::of_table("actor", settings)
    }

    #[test]
    fn what_both_state_differently_is_told_with_both_values_and_what_one_does_not_state_is_not_compared() {
        let run = actor(&[("group_size", "6"), ("temperature", "1.0"), ("top_p", "1.0")]);
        let stated = actor(&[("min_margin", "0.5"), ("temperature", "0.7"), ("top_p", "1.0")]);
        let [other] = &stated.others_than(&run)[..] else {
            panic!("{:?}", stated.others_than(&run));
        };
        assert_eq!(
            (other.to_string().as_str(), other.expected.as_str()),
            ("actor.temperature = 0.7", "1.0")
        );
        assert!(DecidingSettings::default().others_than(&run).is_empty());
        assert!(run.others_than(&DecidingSettings::default()).is_empty());
    }

    #[test]
    fn what_files_hold_is_stated_by_digest_and_nothing_else_is_taken_for_it() {
        let key = "actor.guardrails.text_blocklist";
        let one = |byte: u8| DecidingSettings::of_contents(key, Digest::from_bytes([byte; 32]));
        let others = one(1).others_than(&one(2));
        assert_eq!(others[0].key, "actor.guardrails.text_blocklist.digest");
        assert_ne!(others[0].stated, others[0].expected);
        let stated = actor(&[
            ("guardrails.image_blocklist.digest", "given"),
            ("top_p.digest", "1.0"),
        ]);
        assert_eq!(stated.and(one(1)).contents(), one(1));
        let both = actor(&[("top_p", "0.9")]).and(one(1));
        assert_eq!(both.unknown_to(&actor(&[("top_p", "1.0")])), one(1));
        assert!(both.unknown_to(&both).is_empty());
    }

    #[test]
    fn settings_of_two_tables_are_kept_apart_and_of_a_long_value_is_shown_where_it_differs() {
        let (long, longer) = ("é".repeat(60), "é".repeat(61));
        let text =
            |value: &str| DecidingSettings::of_table("diffusion", [("negative_prompt", value.to_owned())]);
        let both = actor(&[("group_size", "6")]).and(text(&long));
        assert!(both.keys().eq(["actor.group_size", "diffusion.negative_prompt"]));
        let others = both.others_than(&text(&longer));
        assert_eq!(others.len(), 1);
        let end = |length: usize| format!("…{}", "é".repeat(length));
        assert_eq!(
            (&others[0].stated, &others[0].expected),
            (&end(SHOWN / 2), &end(SHOWN / 2 + 1))
        );
        let others = text(&long).others_than(&text("e"));
        assert_eq!(others[0].stated, format!("{}…", "é".repeat(SHOWN)));
    }
}

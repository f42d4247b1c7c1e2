//! The user's layers, merged key by key, and their resolution against the defaults.
//!
//! The default configuration, written as a TOML table, is the schema: it knows every key. Each key that the user set is
//! deserialised alone into a copy of what has been accepted so far, so that one wrong type does not hide the next one.

use super::{Config, Mistake};
use serde::Deserialize as _;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// Short keys that stand for longer ones.
const ALIASES: [(&str, &str); 1] = [("loss", "learner.loss")];

/// Keys that decide the defaults of the other keys of their table: they are applied first.
const DECISIVE: [&str; 1] = ["learner.loss.mode"];

/// What the user set: full keys, in order, each with its value and where it came from.
#[derive(Debug, Default)]
pub(super) struct Document {
    entries: BTreeMap<String, (Value, String)>,
}

impl Document {
    /// Adds all keys of a table.
    pub(super) fn merge(&mut self, origin: &str, table: Table) {
        for (key, value) in table {
            self.insert(origin, &key, value);
        }
    }

    /// Adds one key; a table adds each of its keys. The newest value of a key counts.
    pub(super) fn insert(&mut self, origin: &str, key: &str, value: Value) {
        let key = expand(key);
        match value {
            Value::Table(table) if !table.is_empty() => {
                for (name, value) in table {
                    self.insert(origin, &format!("{key}.{name}"), value);
                }
            }
            value => {
                self.entries.insert(key, (value, origin.to_owned()));
            }
        }
    }

    /// The defaults with every acceptable key applied, and a mistake for each of the others.
    pub(super) fn resolve(&self) -> (Config, Vec<Mistake>) {
        let schema = Table::try_from(Config::default()).expect("the default configuration has a TOML form");
        let mut accepted = schema.clone();
        let mut mistakes = Vec::new();
        let decisive = |(key, _): &(&String, _)| DECISIVE.contains(&key.as_str());
        let (first, rest): (Vec<_>, Vec<_>) = self.entries.iter().partition(decisive);
        for (key, (value, origin)) in first.into_iter().chain(rest) {
            if let Err(reason) = apply(&schema, &mut accepted, key, value) {
                mistakes.push(Mistake::of_key(Some(origin), key, reason));
            }
        }
        let config =
            Config::deserialize(accepted).expect("each key was accepted on top of the ones before it");
        (config, mistakes)
    }

    /// What was set, as a table.
    pub(super) fn given(&self) -> Table {
        let mut table = Table::new();
        for (key, (value, _)) in &self.entries {
            set(&mut table, key, value.clone());
        }
        table
    }

    /// What was set, a line a key.
    pub(super) fn origins(&self) -> String {
        let line = |(key, (value, origin)): (&String, &(Value, String))| {
            format!("{key} = {value} # {}\n", proto::one_line(origin))
        };
        self.entries.iter().map(line).collect()
    }

    /// Says which source set the key that a mistake is about.
    pub(super) fn locate(&self, mut mistake: Mistake) -> Mistake {
        mistake.origin = self.entries.get(&mistake.key).map(|(_, origin)| origin.clone());
        mistake
    }
}

/// The full keys of all values in a table.
pub(super) fn leaves(table: &Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_keys(table, "", &mut found);
    found
}

/// Whether a key of a table has a number.
pub(super) fn is_number(table: &Table, key: &str) -> bool {
    lookup(table, key).is_some_and(|value| value.is_integer() || value.is_float())
}

fn expand(key: &str) -> String {
    for (short, long) in ALIASES {
        if key == short {
            return long.to_owned();
        }
        if let Some(rest) = key.strip_prefix(short).and_then(|rest| rest.strip_prefix('.')) {
            return format!("{long}.{rest}");
        }
    }
    key.to_owned()
}

fn apply(schema: &Table, accepted: &mut Table, key: &str, value: &Value) -> Result<(), String> {
    if let Some(Value::Table(known)) = lookup(schema, key) {
        let keys: Vec<&str> = known.keys().map(String::as_str).collect();
        return match value {
            Value::Table(_) => Ok(()),
            _ => Err(format!("this is a table with the keys {}", keys.join(", "))),
        };
    }
    let mut candidate = accepted.clone();
    if DECISIVE.contains(&key)
        && let Some((table, _)) = key.rsplit_once('.')
    {
        set(&mut candidate, table, Value::Table(Table::new()));
    }
    if !set(&mut candidate, key, value.clone()) {
        return Err(unknown(schema, key));
    }
    let config = Config::deserialize(candidate).map_err(|error| {
        if lookup(schema, key).is_some() {
            expected(value, &error)
        } else {
            unknown(schema, key)
        }
    })?;
    let written = Table::try_from(config).map_err(|error| error.to_string())?;
    if lookup(&written, key).is_none() {
        return Err(unknown(schema, key));
    }
    *accepted = written;
    Ok(())
}

fn expected(value: &Value, error: &toml::de::Error) -> String {
    let message = in_words(error.message().trim());
    if message.contains(&value.to_string()) {
        message
    } else {
        format!("{message} (given: {value})")
    }
}

/// A message in which the kinds of numbers have no names that only a programmer knows.
fn in_words(message: &str) -> String {
    let Some((found, kind)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let whole = |most: u32| format!("a whole number from 0 to {most}");
    let kind = match kind {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX),
        "u64" | "usize" => "a whole number that is not negative".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        known => known.to_owned(),
    };
    format!("{found}, expected {kind}")
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_table()?.get(part))
}

/// Sets a key, making tables on the way; refuses to walk through a value that is no table.
fn set(table: &mut Table, key: &str, value: Value) -> bool {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            true
        }
        Some((first, rest)) => {
            let next = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            next.as_table_mut().is_some_and(|next| set(next, rest, value))
        }
    }
}

/// Names the most likely key that was meant, else the keys there are.
fn unknown(schema: &Table, key: &str) -> String {
    let mut all = BTreeSet::new();
    collect_keys(schema, "", &mut all);
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let within = |left: &str, right: &str| {
        let distance = edit_distance(left, right);
        (distance <= right.chars().count() / 4).then_some(distance)
    };
    let close = |known: &&String| match (within(known, key), within(&last(known), &last(key))) {
        (Some(whole), _) => Some(whole),
        // The right name in the wrong table.
        (None, name) => name.map(|distance| distance + 1),
    };
    let nearest = all
        .iter()
        .filter_map(|known| close(&known).map(|distance| (distance, known)))
        .min();
    if let Some((_, known)) = nearest {
        return format!("unknown key; did you mean {known}?");
    }
    let table = key
        .rsplit_once('.')
        .and_then(|(table, _)| lookup(schema, table))
        .and_then(Value::as_table);
    let names: Vec<&str> = table.unwrap_or(schema).keys().map(String::as_str).collect();
    format!("unknown key; there are {}", names.join(", "))
}

fn collect_keys(table: &Table, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) if !inner.is_empty() => collect_keys(inner, &key, found),
            _ => {
                found.insert(key);
            }
        }
    }
}

/// Levenshtein's distance in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        let cases = [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("same", "same", 0),
            ("beta", "bate", 2),
        ];
        for (left, right, distance) in cases {
            assert_eq!(edit_distance(left, right), distance, "{left} {right}");
        }
    }

    #[test]
    fn a_key_in_the_wrong_table_is_found_by_its_last_name() {
        let schema = Table::try_from(Config::default()).unwrap();
        assert!(unknown(&schema, "seed").contains("run.seed"));
        assert!(unknown(&schema, "actor.versoins").contains("learner.versions"));
        assert!(unknown(&schema, "nothing.x").starts_with("unknown key; there are"));
    }

    #[test]
    fn a_value_where_a_table_belongs_lists_its_keys() {
        let mut document = Document::default();
        document.insert("test", "run", Value::Integer(3));
        let (config, mistakes) = document.resolve();
        assert_eq!(config, Config::default());
        assert!(mistakes[0].to_string().contains("seed"), "{}", mistakes[0]);
    }
}

//! The schema as a reference for people: a table a section, in the order of the structs.

use super::{
    full,
    ranges::{Range, ranges},
    with,
};
use crate::config::Config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const HEAD: &str = "# Configuration

TOML files (`--config PATH`), single keys (`--set learner.loss.beta=0.3`), defaults for the rest. `--config` may be given several times, and may be a
directory, whose `*.toml` are read in the order of their names. What is said last counts, key by key: defaults, files in their order, dedicated flags such as
`--store`, `--set`. A list is one value and is replaced as a whole. `adwright config print` shows
what comes out, with `--origins` which file or argument has set each key that is set, `adwright config check` says what is wrong with it, and `adwright config schema` gives the JSON Schema that an editor
completes from. This page is made from the same schema; after a change of the configuration renew it with

```
adwright config schema --markdown > docs/configuration.md
```
";

/// The whole page.
pub(crate) fn markdown() -> String {
    let ranges = ranges();
    let schema = with(&ranges);
    let mut page = Page {
        text: HEAD.to_owned(),
        ranges,
        order: order(),
    };
    page.table("", &schema);
    page.text
}

struct Page {
    text: String,
    ranges: BTreeMap<String, Range>,
    order: Vec<String>,
}

impl Page {
    fn table(&mut self, key: &str, table: &Value) {
        let (tables, values): (Vec<_>, Vec<_>) = self
            .properties(key, table)
            .into_iter()
            .partition(|(_, property)| is_table(property));
        if !key.is_empty() {
            self.line(&format!("\n## `[{key}]`\n\n{}\n", prose(table)));
        }
        if !values.is_empty() {
            self.line("| key | type | default | meaning |\n|---|---|---|---|");
        }
        for (inner, property) in &values {
            self.row(inner, property);
        }
        for (inner, property) in &values {
            self.words(inner, property);
        }
        for (inner, property) in tables {
            self.table(&inner, property);
        }
    }

    fn row(&mut self, key: &str, property: &Value) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let default = toml_value(&property["default"]);
        let row = [
            format!("`{name}`"),
            self.kind(key, property),
            format!("`{default}`"),
            prose(property),
        ];
        self.line(&format!(
            "| {} |",
            row.map(|cell| cell.replace('\n', " ").replace('|', "\\|"))
                .join(" | ")
        ));
    }

    /// The words that a key takes, where each of them has a meaning of its own.
    fn words(&mut self, key: &str, property: &Value) {
        let words: Vec<&Value> = property["oneOf"].as_array().into_iter().flatten().collect();
        if words.is_empty() {
            return;
        }
        self.line(&format!("\nWords of `{key}`:"));
        for word in words {
            let meaning = prose(word);
            for name in names(word) {
                self.line(&format!("- `{name}`: {meaning}"));
            }
        }
    }

    fn kind(&self, key: &str, property: &Value) -> String {
        if let Some(range) = self.ranges.get(key) {
            return format!("{}, {}", plain_kind(property), range.text);
        }
        plain_kind(property)
    }

    /// A table's keys as its struct has them.
    fn properties<'a>(&self, key: &str, table: &'a Value) -> Vec<(String, &'a Value)> {
        let properties = table["properties"].as_object().into_iter().flatten();
        let mut named: Vec<(String, &Value)> = properties
            .map(|(name, property)| (full(key, name), property))
            .collect();
        named.sort_by_key(|(key, _)| self.order.iter().position(|known| known == key));
        named
    }

    fn line(&mut self, text: &str) {
        // A string takes whatever is written.
        writeln!(self.text, "{text}").ok();
    }
}

/// Tables and keys in the order in which the default configuration is written.
fn order() -> Vec<String> {
    let (mut table, mut keys) = (String::new(), Vec::new());
    for line in Config::default().to_toml().lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = name.to_owned();
            keys.push(table.clone());
        } else if let Some((name, _)) = line.split_once(" = ") {
            keys.push(full(&table, name));
        }
    }
    keys
}

fn is_table(property: &Value) -> bool {
    property["properties"].is_object()
}

fn plain_kind(property: &Value) -> String {
    let words: Vec<String> = property["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(names)
        .collect();
    if !words.is_empty() {
        return words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match property["type"].as_str().unwrap_or_default() {
        "integer" => "whole number".into(),
        "number" => "number".into(),
        "boolean" => "`true` or `false`".into(),
        "string" => "text".into(),
        "array" => format!("list of {}", plain_kind(&property["items"])),
        other => other.to_owned(),
    }
}

fn names(word: &Value) -> Vec<String> {
    let listed = word["enum"].as_array().into_iter().flatten();
    listed
        .chain([&word["const"]])
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// A doc comment as one line, links into the code left out.
fn prose(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("](super::AdamW)", "")
        .replace("[`", "`")
        .replace("`]", "`")
}

fn toml_value(value: &Value) -> String {
    match toml::Value::try_from(value) {
        Ok(value) => value.to_string(),
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_that_of_this_program() {
        let committed = include_str!("../../../../docs/configuration.md");
        assert!(
            committed == markdown(),
            "docs/configuration.md is stale; renew it with `adwright config schema --markdown > docs/configuration.md`"
        );
    }

    #[test]
    fn every_key_has_its_row_in_the_section_of_its_table() {
        let page = markdown();
        let section = page
            .split("\n## `[actor]`")
            .nth(1)
            .unwrap()
            .split("\n## ")
            .next()
            .unwrap();
        assert!(
            section.contains("| `group_size` | whole number, 2 to 64 | `6` | Completions sampled per task")
        );
        assert!(page.contains("\n## `[learner.loss.mask]`"));
        assert!(page.contains("- `joint_swap`: "), "words of the loss");
        assert!(!page.contains("](super"), "links into the code");
    }
}

//! The JSON Schema of the configuration: what an editor completes from and what `docs/configuration.md` is made of.
//!
//! Nothing is written here that a table says itself: keys, types and meanings come from the structs and their doc comments,
//! defaults from the default configuration, ranges from what the tables' own checks answer when they are given a number that no
//! setting was made for (`ranges.rs`).

mod markdown;
mod ranges;

pub(crate) use markdown::markdown;

use super::Config;
use ranges::{Range, ranges};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The schema (JSON Schema, draft 2020-12) with every table written out where it stands.
pub(crate) fn schema() -> Value {
    with(&ranges())
}

fn with(ranges: &BTreeMap<String, Range>) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let root = settings.into_generator().into_root_schema_for::<Config>();
    let mut schema = root.to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    complete(&mut schema, &defaults, "", ranges);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), json!("Adwright"));
    }
    schema
}

/// Puts in what only the whole configuration knows: each key's default where it stands (a struct that several tables share has
/// others of its own) and its range.
fn complete(schema: &mut Value, default: &Value, key: &str, ranges: &BTreeMap<String, Range>) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties {
            let inner = full(key, name);
            complete(property, &default[name.as_str()], &inner, ranges);
        }
        // Each key of it has its own, and what is left out keeps it.
        object.remove("default");
        object.remove("required");
        return;
    }
    if !default.is_null() {
        object.insert("default".into(), default.clone());
    }
    let numeric = default.is_number();
    if numeric && let Some(range) = ranges.get(key) {
        bound(object, range, default.is_f64());
    }
    // What a machine's word can hold is no range of a setting.
    object.remove("format");
}

fn bound(object: &mut Map<String, Value>, range: &Range, fractions: bool) {
    let number = |value: f64| match fractions {
        true => json!(value),
        false => json!(value as i64),
    };
    object.insert("minimum".into(), number(range.least));
    object.insert("maximum".into(), number(range.most));
}

fn full(table: &str, name: &str) -> String {
    match table.is_empty() {
        true => name.to_owned(),
        false => format!("{table}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn leaves(schema: &Value, key: &str, found: &mut BTreeMap<String, Value>) {
        match schema["properties"].as_object() {
            Some(properties) => {
                for (name, property) in properties {
                    leaves(property, &full(key, name), found);
                }
            }
            None => {
                found.insert(key.to_owned(), schema.clone());
            }
        }
    }

    fn all() -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        leaves(&schema(), "", &mut found);
        found
    }

    #[test]
    fn the_schema_has_the_keys_of_the_configuration_each_with_meaning_and_default() {
        let table: toml::Table = Config::default().to_toml().parse().unwrap();
        let keys: BTreeSet<String> = all().into_keys().collect();
        assert_eq!(keys, super::super::document::leaves(&table));
        for (key, property) in all() {
            assert!(property["description"].is_string(), "{key} says nothing");
            assert!(!property["default"].is_null(), "{key} has no default");
        }
    }

    #[test]
    fn a_default_is_that_of_the_table_and_not_of_a_struct_that_tables_share() {
        let keys = all();
        let rates = ["pretrain", "learner"].map(|table| &keys[&format!("{table}.optimizer.learning_rate")]);
        assert_eq!(
            rates.map(|rate| rate["default"].as_f64()),
            [Some(0.003), Some(0.0015)]
        );
    }

    #[test]
    fn ranges_are_those_that_the_check_enforces() {
        let keys = all();
        let bounds = |key: &str| (keys[key]["minimum"].as_f64(), keys[key]["maximum"].as_f64());
        assert_eq!(bounds("actor.group_size"), (Some(2.0), Some(64.0)));
        assert_eq!(bounds("actor.temperature"), (Some(0.01), Some(10.0)));
        assert_eq!(bounds("learner.loss.mask.ratio"), (Some(0.0), Some(1.0)));
        // It ends where another key says.
        assert_eq!(bounds("demo.kl_samples").1, None);
        let bounded = keys.values().filter(|key| !key["maximum"].is_null()).count();
        assert!(bounded > 100, "{bounded}");
        for (key, property) in &keys {
            let (least, most) = bounds(key);
            let default = property["default"].as_f64();
            let inside =
                default.is_none_or(|value| least <= Some(value) && most.is_none_or(|most| value <= most));
            assert!(inside, "{key}: {default:?} is not within {least:?} and {most:?}");
        }
    }

    #[test]
    fn an_unknown_key_and_a_wrong_word_are_no_configuration_of_the_schema() {
        assert_eq!(
            schema()["properties"]["actor"]["additionalProperties"],
            json!(false)
        );
        let modes = schema()["properties"]["learner"]["properties"]["loss"]["properties"]["mode"].to_string();
        assert!(
            modes.contains("joint_swap") && !modes.contains("JointSwap"),
            "{modes}"
        );
    }
}

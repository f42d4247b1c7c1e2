//! JSON in which no object may have a key twice: `serde_json` keeps the last one, and other readers the first or none.

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Reads one value.
///
/// # Errors
/// When it is no JSON, or an object at any depth has a key twice; the error names the key.
pub(crate) fn read(text: &str) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Unique.deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Takes any value, and refuses an object that has a key twice.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

/// What has no parts, as `serde_json` has it.
macro_rules! plain {
    ($($name:ident: $of:ty),*) => {
        $(fn $name<E: Error>(self, value: $of) -> Result<Value, E> {
            Ok(Value::from(value))
        })*
    };
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON whose objects have each key once")
    }

    plain!(visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(Self)?;
            if read.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("the key {key:?} twice")));
            }
        }
        Ok(Value::Object(read))
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused_at_any_depth_and_everything_else_is_read() {
    let good = r#"{"a": [1, -2, 0.5, null, true], "b": {"a": "x"}}"#;
    assert_eq!(read(good).unwrap(), serde_json::from_str::<Value>(good).unwrap());
    for twice in [
        r#"{"message": "x", "message": "y"}"#,
        r#"{"spans": [{"name": "a"}, {"name": "b", "run": 1, "run": 1}]}"#,
    ] {
        assert!(read(twice).unwrap_err().to_string().contains("twice"), "{twice}");
    }
    assert!(read("{} {}").is_err() && read("{").is_err());
}

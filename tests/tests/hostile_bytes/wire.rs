//! The wire's definitions and what is claimed of them: each message that comes in has its door, and docs/security.md has a row for each
//! message there is.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

use integration_tests::DOORS;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A method of a service, and what goes either way.
struct Method {
    service: String,
    request: String,
    answer: String,
}

/// All that is defined.
#[derive(Default)]
struct Wire {
    methods: Vec<Method>,
    /// Each message, and those that are in its fields.
    messages: BTreeMap<String, BTreeSet<String>>,
}

impl Wire {
    fn read() -> Self {
        let mut wire = Self::default();
        for directory in ["adwright/v1", "keda"] {
            for file in fs::read_dir(format!("{ROOT}/proto/{directory}")).unwrap() {
                wire.add(&fs::read_to_string(file.unwrap().path()).unwrap());
            }
        }
        // So far a field's type was any: numbers and enumerations hold no message.
        let names: BTreeSet<String> = wire.messages.keys().cloned().collect();
        let messages = wire.messages.values_mut();
        messages.for_each(|held| held.retain(|name| names.contains(name)));
        wire
    }

    fn add(&mut self, definition: &str) {
        let (mut service, mut message) = (String::new(), None);
        for line in definition.lines() {
            let line = line.split("//").next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_within = line.starts_with(char::is_whitespace);
            match words[..] {
                ["service", name, ..] => (service, message) = (name.to_owned(), None),
                ["rpc", ..] => self.methods.push(method(&service, line)),
                ["message" | "enum", name, ..] if is_within => panic!("{name} is within a message"),
                ["enum", ..] => message = None,
                ["message", name, ..] => {
                    let twice = self.messages.insert(name.to_owned(), BTreeSet::new());
                    assert!(twice.is_none(), "{name} is defined twice");
                    message = Some(name.to_owned());
                }
                // `Digest image = 5;`, `repeated Artifact base = 2;`, `map<string, double> values = 3;`
                [.., of, _, "=", _] => {
                    let held = message
                        .as_ref()
                        .and_then(|message| self.messages.get_mut(message));
                    held.into_iter().for_each(|held| {
                        held.insert(of.trim_end_matches('>').to_owned());
                    });
                }
                _ => {}
            }
        }
    }

    /// Everything that comes with a message.
    fn with(&self, message: &str) -> BTreeSet<String> {
        let (mut found, mut left) = (BTreeSet::new(), vec![message]);
        while let Some(message) = left.pop() {
            let held = &self.messages[message];
            left.extend(
                held.iter()
                    .filter(|name| !found.contains(*name))
                    .map(String::as_str),
            );
            found.extend(held.iter().cloned());
        }
        found
    }

    /// What is sent by itself, or stored, and not only with another message.
    fn roots(&self) -> BTreeSet<String> {
        let methods = self.methods.iter();
        let sent = methods.flat_map(|method| [method.request.clone(), method.answer.clone()]);
        let sent: BTreeSet<String> = sent.collect();
        let held: BTreeSet<&String> = self.messages.values().flatten().collect();
        let stored = self.messages.keys().filter(|name| !held.contains(name)).cloned();
        sent.iter().cloned().chain(stored).collect()
    }

    /// The requests and answers that this program reads.
    fn read_here(&self) -> impl Iterator<Item = &String> {
        self.methods
            .iter()
            .flat_map(|method| match method.service.as_str() {
                // Somebody else serves the one, and asks the other.
                "ImageService" => vec![&method.answer],
                "ExternalScaler" => vec![&method.request],
                _ => vec![&method.request, &method.answer],
            })
    }
}

fn method(service: &str, line: &str) -> Method {
    let mut messages = line.split('(').skip(1).map(|part| {
        let message = part.split(')').next().unwrap_or_default();
        message.trim_start_matches("stream ").to_owned()
    });
    let (Some(request), Some(answer), None) = (messages.next(), messages.next(), messages.next()) else {
        panic!("not one method in a line: {line}");
    };
    Method {
        service: service.to_owned(),
        request,
        answer,
    }
}

/// What is between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_message_of_every_method_has_its_door() {
    let _turn = super::turn();
    let wire = Wire::read();
    let services: BTreeSet<&str> = wire
        .methods
        .iter()
        .map(|method| method.service.as_str())
        .collect();
    let known = [
        "ExternalScaler",
        "ImageService",
        "LearnerService",
        "RelayService",
        "RewardService",
    ];
    assert_eq!(services, known.into());
    let doors: Vec<&str> = DOORS.iter().map(|door| door.name).collect();
    for message in wire.read_here() {
        assert!(
            doors.contains(&message.as_str()),
            "{message} has no door in tests/src/doors.rs"
        );
    }
}

#[test]
fn the_table_of_messages_has_all_of_them_and_says_what_is_true() {
    let _turn = super::turn();
    let wire = Wire::read();
    let page = fs::read_to_string(format!("{ROOT}/docs/security.md")).unwrap();
    let (_, table) = page.split_once("\n## Messages and their doors\n").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut found = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [message, _, held, door] = cells[..] else {
            panic!("not four cells: {row}");
        };
        let message = quoted(message).remove(0);
        assert!(wire.messages.contains_key(&message), "there is no {message}");
        assert!(found.insert(message.clone()), "{message} has two rows");
        let held: BTreeSet<String> = quoted(held).into_iter().collect();
        assert_eq!(held, wire.with(&message), "what comes with {message}");
        // Whatever the program reads is read in files that there are, and nothing else has a door.
        let is_read = wire.read_here().any(|read| *read == message);
        assert_eq!(is_read, !door.starts_with("none: "), "{message}: {door}");
        let files = quoted(door);
        assert_eq!(is_read, !files.is_empty(), "{message}: {door}");
        for file in files {
            let source = fs::read_to_string(Path::new(ROOT).join(&file));
            let source = source.unwrap_or_else(|error| panic!("{message}: {file}: {error}"));
            // An answer may be read without its type's being named, by the name of its method.
            let method = snake(message.trim_end_matches("Response"));
            let is_named = source.contains(&message) || source.contains(&method);
            assert!(is_named, "{file} has nothing of {message}");
        }
    }
    assert_eq!(found, wire.roots());
    let in_rows = found.iter().flat_map(|message| wire.with(message));
    let covered: BTreeSet<String> = in_rows.chain(found.iter().cloned()).collect();
    let all: BTreeSet<String> = wire.messages.keys().cloned().collect();
    assert_eq!(covered, all);
}

/// A method as Rust calls it.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

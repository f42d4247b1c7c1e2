//! Everything that the roles and the network say while a simulation runs, as one digest; and what is to be remembered of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The digest of the outcome that an actor was told stands, by task.
    pub(crate) acknowledged: BTreeMap<u64, String>,
    /// The digest of each version's adapter, as the learner offers it.
    pub(crate) offered: BTreeMap<String, String>,
    /// The versions with which the run's end was recorded.
    pub(crate) ends: BTreeSet<String>,
    /// Promises that were seen broken.
    pub(crate) broken: Vec<String>,
    /// How often each thing was said.
    pub(crate) said: BTreeMap<String, u64>,
    /// The last lines, for people.
    tail: std::collections::VecDeque<String>,
    hash: blake3::Hasher,
    /// Where every line goes.
    file: Option<BufWriter<File>>,
    /// How many events there were.
    pub(crate) events: u64,
}

/// Lines kept for people.
const TAIL: usize = 400;

/// Takes every event in.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Facts>>);

/// The host that a span belongs to.
struct Node(String);

impl Recorder {
    /// One that writes every event to a file, too.
    pub(crate) fn to_file(path: &Path) -> io::Result<Self> {
        let recorder = Self::default();
        recorder.facts().file = Some(BufWriter::new(File::create(path)?));
        Ok(recorder)
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// The digest of all events so far.
    pub(crate) fn digest(&self) -> String {
        self.hash.finalize().to_hex()[..32].to_owned()
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> impl Iterator<Item = &String> {
        self.tail.iter()
    }

    fn take(&mut self, node: &str, fields: &Fields) {
        match fields.message.as_str() {
            "outcome acknowledged" => {
                let Ok(task) = fields.get("task").parse() else {
                    return;
                };
                let digest = fields.get("digest").to_owned();
                let before = self.acknowledged.entry(task).or_insert_with(|| digest.clone());
                if *before != digest {
                    let word =
                        format!("I2: {node} was told that {digest} stands for task {task}, another {before}");
                    self.broken.push(word);
                }
            }
            "version offered" => {
                let (version, adapter) = (fields.get("version").to_owned(), fields.get("adapter").to_owned());
                let before = self
                    .offered
                    .entry(version.clone())
                    .or_insert_with(|| adapter.clone());
                if *before != adapter {
                    self.broken
                        .push(format!("I4: {version} is {before}, then {adapter}"));
                }
                if fields.get("last") == "true" && !self.ends.contains(&version) {
                    self.broken.push(format!(
                        "I11: {version} is told as the last, and no end is recorded"
                    ));
                }
            }
            // Who finds it has read the record, also where its learner was killed before it could say so.
            "the run's end is recorded" | "the run's end stands in its store" => {
                self.ends.insert(fields.get("version").to_owned());
            }
            "version received" => {
                let (version, adapter) = (fields.get("version"), fields.get("adapter"));
                if self.offered.get(version).is_none_or(|offered| offered != adapter) {
                    self.broken
                        .push(format!("I5: {node} took {adapter} for {version}"));
                }
            }
            _ => {}
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        let level = match target.split("::").next() {
            Some("turmoil") => Level::TRACE,
            Some("learner" | "actor" | "proto" | "store" | "simulation") => Level::DEBUG,
            _ => return false,
        };
        *metadata.level() <= level
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "node" {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Node(fields.get("name").to_owned()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context.event_scope(event).into_iter().flatten();
        let node = scope
            .filter_map(|span| span.extensions().get::<Node>().map(|node| node.0.clone()))
            .last()
            .unwrap_or_default();
        let at = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        let line = format!("{at:>8} {node:<10} {} {fields}", event.metadata().target());
        let mut facts = self.facts();
        facts.events += 1;
        facts.hash.update(line.as_bytes());
        facts.take(&node, &fields);
        if event.metadata().target() != "turmoil" {
            *facts.said.entry(fields.message).or_default() += 1;
        }
        if let Some(file) = &mut facts.file {
            // Whoever wants the file sees that it is short.
            let _ = writeln!(file, "{line}");
        }
        if event.metadata().target() != "turmoil" {
            if facts.tail.len() == TAIL {
                facts.tail.pop_front();
            }
            facts.tail.push_back(line);
        }
    }
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn get(&self, name: &str) -> &str {
        let found = self.others.iter().find(|(field, _)| *field == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.others.push((name, value.to_owned())),
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.others
            .iter()
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

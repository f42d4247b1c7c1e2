//! TensorBoard's event files: records of a length, a message and their checksums (TFRecord), one file a start of the learner.
//!
//! Only scalars are written. A start says first from which step on it writes, so that a reader drops what an earlier start wrote
//! of steps that a crash has lost.

mod board;

pub(crate) use board::Board;

use crate::error::LearnerError;
use prost::Message;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the first record of a file says.
const FILE_VERSION: &str = "brain.Event:2";

/// The value of TensorFlow's `SessionLog.Status.START`.
const START: i32 = 1;

/// What is added to a rotated checksum, so that data with checksums in it has one of its own.
const MASK: u32 = 0xa282_ead8;

/// An event file that is being written.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

/// `tensorflow.Event`, as far as it is written here.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl EventFile {
    /// A new file in `directory`, which is made, of a start that goes on behind `steps` optimizer steps.
    ///
    /// # Errors
    /// [`LearnerError::File`] when it cannot be made.
    pub(crate) fn create(directory: &Path, steps: u64) -> Result<Self, LearnerError> {
        Self::create_at(directory, steps, wall_time())
    }

    fn create_at(directory: &Path, steps: u64, wall_time: f64) -> Result<Self, LearnerError> {
        std::fs::create_dir_all(directory).map_err(LearnerError::file("make", directory))?;
        // Readers take files in the order of their names; nobody else has this process's id in this millisecond.
        let name = format!(
            "events.out.tfevents.{:014.3}.{}.adwright",
            wall_time,
            std::process::id()
        );
        let path = directory.join(name);
        let file = File::create_new(&path).map_err(LearnerError::file("make", &path))?;
        let mut events = Self { path, file };
        let first = Event {
            wall_time,
            file_version: Some(FILE_VERSION.into()),
            ..Event::default()
        };
        let start = Event {
            wall_time,
            step: step(steps + 1),
            session_log: Some(SessionLog { status: START }),
            ..Event::default()
        };
        events.write(&first)?;
        events.write(&start)?;
        Ok(events)
    }

    /// Writes scalars of an optimizer step as `group/name`.
    ///
    /// # Errors
    /// [`LearnerError::File`] when they cannot be written.
    pub(crate) fn scalars<'a>(
        &mut self,
        group: &str,
        at: u64,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) -> Result<(), LearnerError> {
        let value = values.map(|(name, value)| Value {
            tag: format!("{group}/{name}"),
            simple_value: value as f32,
        });
        self.write(&Event {
            wall_time: wall_time(),
            step: step(at),
            summary: Some(Summary {
                value: value.collect(),
            }),
            ..Event::default()
        })
    }

    fn write(&mut self, event: &Event) -> Result<(), LearnerError> {
        let record = record(&event.encode_to_vec());
        let written = self.file.write_all(&record);
        written.map_err(LearnerError::file("write to", &self.path))
    }
}

fn step(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "viewers show it beside a step, and nothing of ours reads it"
)]
fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// A message with its length before it and a checksum behind each.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend(length);
    record.extend(masked(&length).to_le_bytes());
    record.extend(message);
    record.extend(masked(message).to_le_bytes());
    record
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
pub(crate) mod tests;

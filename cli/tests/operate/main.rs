//! The commands that look after a job, as a person or a script calls them: the real binary, its exit statuses and what it prints.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

mod asking;
mod configuration;
mod doctor;
mod launch;
mod program;

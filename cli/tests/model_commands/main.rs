//! The commands for checkpoints that others made, with the real binary: what scripts read of them, and what they say to files that are
//! not whole.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

mod checkpoints;
mod completions;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod program;
mod refusals;
mod rewards;

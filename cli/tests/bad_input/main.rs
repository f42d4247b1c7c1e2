//! What the program says to bad input: one clear error that names the file, row, key or address, exit status 64 for
//! what the user can put right and 1 for a run that failed, and nothing half-written. The real binary, no training.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

mod addresses;
mod bench;
mod configuration;
mod demo;
mod models;
mod products;
mod rows;
mod starts;

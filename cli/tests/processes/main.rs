//! The real program as processes: started, asked, stopped, killed. One program of tests, so that what they share is written once.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]
#![allow(clippy::disallowed_methods, reason = "these tests wait for other processes")]

mod by_url;
mod canary;
mod damage;
mod deadly_task;
mod deciding_settings;
mod demo;
mod external_actor;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod foreign_run;
mod held_out;
mod hostile_services;
mod http;
mod image_service;
mod interrupt;
mod log_lines;
mod mutual_tls;
mod one_heap;
mod painted_run;
mod program;
mod python;
mod recorded_end;
mod reward_server;
mod role;
mod rollback;
mod run_end;
mod stage;
mod status;
mod stopped_relay;
mod store_table;
mod unique_keys;
mod watched;

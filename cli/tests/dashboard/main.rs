//! The dashboard in a real browser, over real runs: headless Chromium, driven over its own protocol. They are ignored
//! unless asked for, as `.ci/run` does: not every machine has a Chromium.
//!
//! `DASHBOARD_AXE=FILE` names the script of axe-core, which looks at every view (docs/dashboard.md).
//! `DASHBOARD_SCREENSHOT=FILE` keeps the picture of the overview; `just dashboard-screenshot` makes target/dashboard.png with it.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests wait for other processes, and are told by their environment what to keep"
)]

mod axe;
mod browser;
mod demo;
mod keyboard;
mod page;
mod seen;
mod tour;
mod views;

use std::sync::{Mutex, MutexGuard, PoisonError};

// The stage of other tests, which do more on it than these do; what is to be seen within seconds wants the machine alone, so this is
// no part of their program.
#[path = "../processes/http.rs"]
mod http;
#[path = "../processes/program.rs"]
mod program;
#[path = "../processes/role.rs"]
mod role;
#[expect(dead_code, reason = "of use to other tests")]
#[path = "../processes/stage.rs"]
mod stage;

/// One test at a time: each has a run that wants the machine, and seconds are counted.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

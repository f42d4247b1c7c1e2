//! The dashboard in a real browser, over a real run: headless Chromium, driven over its own protocol. Where there is no Chromium the
//! test says so and is passed over, but for `DASHBOARD_BROWSER=required`, with which `.ci/run` starts it.
//!
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

mod browser;
mod page;
mod tour;

// The stage of other tests, which do more on it than these do; what is to be seen within seconds wants the machine alone, so this is
// no part of their program.
#[path = "../processes/http.rs"]
mod http;
#[expect(dead_code, reason = "of use to other tests")]
#[path = "../processes/program.rs"]
mod program;
#[path = "../processes/role.rs"]
mod role;
#[expect(dead_code, reason = "of use to other tests")]
#[path = "../processes/stage.rs"]
mod stage;

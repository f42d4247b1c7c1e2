//! How a run goes, for people and scripts: two answers of the services make a view with rates, which is shown as a table, a line
//! or JSON. Nothing here dials or waits; `commands/status.rs` does.

mod actors;
mod outage;
mod screen;
mod table;
mod view;

pub(crate) use outage::Outage;
pub(crate) use screen::Screen;
pub(crate) use table::{line, table};
pub(crate) use view::{Reading, View};

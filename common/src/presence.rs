//! Whether an actor takes part in a run, and how it is doing.

use serde::Serialize;
use std::time::Duration;

/// Whether an actor takes part in a run, as far as its learner can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It does.
    Here,
    /// It has not called for longer than a lease lasts.
    Silent,
    /// Its connection is closed, and it has not said that it would leave.
    Gone,
    /// It has said that it takes no further part, and holds nothing.
    Left,
}

impl Presence {
    /// After how long one that is away need not be shown any more: on machines that come and go those would soon be most of a table.
    pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

    /// Whether it has gone or left.
    pub fn is_away(self) -> bool {
        matches!(self, Self::Gone | Self::Left)
    }
}

/// How an actor is doing, worst first: the order of every table of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActorState {
    /// Its weights do not take effect, and its outcomes are not taken.
    Quarantined,
    /// Its connection is closed, and what it had leased goes to others.
    Gone,
    /// It lacks a service.
    Waiting,
    /// It has not called for longer than a lease lasts.
    Silent,
    /// It samples.
    Working,
    /// It has ended as it should.
    Left,
}

impl ActorState {
    /// Of an actor in quarantine or not, that waits for a service or not, of a run that is complete or not.
    pub fn of(presence: Presence, is_quarantined: bool, waits: bool, run_is_over: bool) -> Self {
        match presence {
            // It ends, and says that it leaves.
            _ if is_quarantined => Self::Quarantined,
            Presence::Left => Self::Left,
            Presence::Gone if run_is_over => Self::Left,
            Presence::Gone => Self::Gone,
            _ if waits => Self::Waiting,
            Presence::Silent => Self::Silent,
            Presence::Here => Self::Working,
        }
    }
}

//! Services that misbehave in every way that costs no task, and callers that cost no service. One program of tests, which links once.

mod abstentions;
mod images;
mod rewards;
mod strangers;

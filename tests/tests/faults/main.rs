//! Services that misbehave in every way that costs no task. One program of tests, which links once.

mod images;
mod rewards;

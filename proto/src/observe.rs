//! What a role tells whoever watches its process: whether it takes part, that it comes along while it starts, and numbers.
//!
//! The roles count and say; who listens is the command line's affair (`cli/src/monitoring.rs`). Nobody need listen: what is
//! here then costs an addition of integers.

#[cfg(feature = "testing")]
mod documented;
mod page;
mod pulse;

#[cfg(feature = "testing")]
pub use documented::documented_page;
pub use page::{Labels, Page};
pub use prometheus_client::registry::Registry;
pub use pulse::Pulse;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// A histogram of durations in seconds, 1 ms to 9 minutes: a decode step and the load of a large model both fall into one of
/// its 20 buckets.
pub fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 20))
}

/// A histogram of sizes, 1 to 1024.
pub fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 11))
}

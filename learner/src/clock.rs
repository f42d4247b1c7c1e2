//! The clock of leases and actors. It is the runtime's, so that a simulation can hold it.

use std::time::Instant;

/// Now. Everything below the service and the run takes it as an argument.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

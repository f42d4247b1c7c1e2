//! Places at which a process of a test build can be made to die at once, as by `kill -KILL`, and promises that it can be made to
//! break.
//!
//! A role calls [`reach`] where a death would hurt most. Without the feature `failpoints`, so in every release, that is an
//! empty function and the points have no names. With it, [`arm`] reads from the environment which point this process dies at
//! and at which reach, and which promise it breaks: [`breaks`] is false in every release. Nothing here waits, recovers or knows what a role does.

mod mutation;
mod point;

#[cfg(feature = "failpoints")]
mod armed;

pub use mutation::Mutation;
#[cfg(feature = "failpoints")]
pub use mutation::breaks;
pub use point::Point;

#[cfg(feature = "failpoints")]
pub use armed::{MUTATION, VARIABLE, arm, during, reach};

/// Whether this build has failpoints: some bounds are smaller then, so that a short run of a test meets them.
pub const INJECTED: bool = cfg!(feature = "failpoints");

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_: Point) {}

/// This build breaks nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn breaks(_: Mutation) -> bool {
    false
}

/// Does `work`: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn during<F: Future>(_: Point, work: F) -> F {
    work
}

/// Does nothing: this build has no failpoints.
///
/// # Errors
/// None.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn arm() -> Result<(), std::convert::Infallible> {
    Ok(())
}

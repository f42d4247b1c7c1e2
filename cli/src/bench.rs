//! Measurements of what is around the computing: a real learner and real actors over real connections, both of which pause where
//! they would compute.

mod broadcast;
mod control_plane;
mod line;
mod rig;
mod staleness;
mod swap_pause;
mod tcp_copy;

pub(crate) use broadcast::broadcast;
pub(crate) use control_plane::control_plane;
pub(crate) use staleness::Bounds;

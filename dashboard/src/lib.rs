//! Pages that show a run to people while it goes on: its curves, its actors, its newest creatives with their pedigree, and what
//! moved the reward.
//!
//! It knows a run by [`RunView`] alone: nothing here trains, calls anybody, or reads a store. Everything is rendered here, so the
//! page needs no program of others and no asset from elsewhere; what is remembered for it is bounded ([`Chronicle`]), however long
//! the run is. Creatives are confidential: who may look is decided in `access.rs`.

mod access;
mod chronicle;
mod config;
mod decomposition;
mod door;
mod live;
mod moments;
mod page;
mod picture;
mod places;
mod rates;
mod routes;
mod server;
mod tallies;
#[cfg(test)]
mod test_run;
mod view;

pub use access::{Access, AccessError};
pub use chronicle::{Chronicle, VersionPoint};
pub use config::DashboardConfig;
pub use door::{Door, DoorError};
pub use picture::MOST_BYTES as MOST_PICTURE_BYTES;
pub use places::{Guest, LEAST_TIME, Places};
pub use server::serve;
pub use view::{
    Actor, Candidate, Creative, Ending, History, Outcome, Overview, PictureOf, Role, RunState, RunView,
    TrainedIn, ViewError,
};

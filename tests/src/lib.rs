//! A whole run inside one process: the real learner, actors and reward-server on port 0 of the loopback, an in-memory store,
//! tiny networks and a tiny shop.
//!
//! One thing is not the product's own: [`TextPainter`] renders. The tiny policy is not pre-trained, its descriptions are
//! noise, and to the shop's renderer all noise looks alike.

mod cluster;
mod doors;
mod networks;
mod painter;
mod raw;
mod running;

pub use cluster::{Finished, TestCluster, serve_model, serve_model_with};
pub use doors::{DOORS, Door, admits_tokenizer_json, knock};
pub use painter::{Gate, TextPainter};
pub use raw::Raw;
pub use running::{ActorHandle, Learner, RewardServer, Running};

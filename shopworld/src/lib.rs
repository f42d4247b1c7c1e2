//! ShopWorld: a built-in simulated shop. It draws products, renders descriptions into pictures, knows the true
//! click-through rate of every description, and writes click logs and a pre-training corpus that share its blind spots
//! with real ones.
//!
//! Everything is a pure function of a [`ShopWorldConfig`] and a seed. Other crates reach it through the traits of `data`.
//! It does not model users, time or prices, and it never learns.

mod advertiser;
mod art;
mod catalogue;
mod click_log;
mod config;
mod corpus;
mod description;
mod oracle;
mod products;
mod renderer;
mod stream;
mod truth;
mod vocabulary;
mod world;

pub use catalogue::ShopCatalogue;
pub use click_log::ShopClickLog;
pub use config::ShopWorldConfig;
pub use corpus::ShopCorpus;
pub use description::{Description, ParsedDescription, Slot};
pub use oracle::ShopOracle;
pub use renderer::{Renderer, RendererConfig};
pub use world::ShopWorld;

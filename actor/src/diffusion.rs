//! The image generator that paints: Stable Diffusion with a ControlNet around a product that stays as it is, pixel for pixel.
//!
//! `models::diffusion` paints, `imaging` places the product and puts the finished picture together, and this joins the two
//! behind [`data::ImageGenerator`].

mod composition;
mod config;
mod generator;
mod painter;

#[cfg(test)]
mod tests;

pub use config::{DiffusionConfig, Placing};
pub use generator::DiffusionGenerator;
pub use painter::{DiffusionFiles, Painter};

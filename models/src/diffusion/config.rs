//! What diffusers' `config.json` files say of the networks.

mod autoencoder;
mod levels;
mod unet;

pub use autoencoder::AutoencoderConfig;
pub use levels::{Level, PerLevel};
pub use unet::UnetConfig;

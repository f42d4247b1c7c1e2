//! What diffusers' `config.json` files say of the networks.

mod autoencoder;
mod unet;

pub use autoencoder::AutoencoderConfig;
pub use unet::{Level, PerLevel, UnetConfig};

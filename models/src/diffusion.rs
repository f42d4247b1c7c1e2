//! Latent diffusion: the networks of Stable Diffusion 1.5 with ControlNet, the samplers, and the inpainting pipeline made of
//! them.
//!
//! One code path for every size: a directory's configuration decides. Fields carry diffusers' names, so that a checkpoint's
//! key is a module path. No pixels are drawn and no files of pictures are read here: what goes in and comes out are tensors.

pub mod attention;
pub mod autoencoder;
pub mod blocks;
pub mod checkpoint;
pub mod clip_tokenizer;
pub mod config;
pub mod controlnet;
mod cpu;
mod fresh;
pub mod layers;
pub mod lora;
mod naming;
pub mod noise;
mod part;
pub mod pipeline;
pub mod presets;
pub mod prompt;
pub mod schedule;
pub mod text_encoder;
pub mod time;
pub mod transformer;
pub mod unet;

#[cfg(test)]
mod parity;

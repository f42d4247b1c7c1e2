//! The networks of Adwright and what it takes to run them: layers, policy, reward models, sampling, checkpoints,
//! gradients and compute threads.
//!
//! Nothing here knows gRPC, product tasks, policy versions or rewards as reinforcement learning sees them.

pub mod attention;
pub mod batch;
pub mod checkpoint;
pub mod clip;
pub mod compute_thread;
pub mod ctr;
pub mod device;
pub mod diffusion;
mod directory;
pub mod dropout;
pub mod error;
mod foreign;
pub mod gradients;
pub mod image_features;
pub mod init;
mod limits;
pub mod linear;
pub mod llama;
pub mod llava;
pub mod log_probs;
pub mod lora;
pub mod norm;
mod one_thread;
pub mod optimizer;
mod panics;
#[cfg(test)]
mod parity;
pub mod peft;
pub mod policy;
pub mod presets;
pub mod probe;
pub mod processor;
pub mod sampling;
pub mod sentencepiece;
pub mod template;
pub mod token_support;
pub mod tokenizer;
pub mod weights;

pub use error::ModelError;

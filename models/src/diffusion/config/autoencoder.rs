//! What diffusers' `config.json` says of the autoencoder, under its names.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::foreign::{complete, parse, require};
use crate::limits;

/// `AutoencoderKL`'s configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AutoencoderConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a picture.
    pub out_channels: usize,
    /// Channels of each level, from the picture down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of the normalisations.
    pub norm_num_groups: usize,
    /// What latents are multiplied by, so that their variance is about 1.
    pub scaling_factor: f64,
}

impl AutoencoderConfig {
    /// Stable Diffusion 1.5's.
    pub fn stable_diffusion_15() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
        }
    }

    /// How many pixels of a side make one of the latents.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Reads `AutoencoderKL`'s configuration.
    ///
    /// # Errors
    /// [`ModelError::Foreign`] for a key that asks for another network, [`ModelError::Config`] for one out of range.
    pub fn read(mut json: Map<String, Value>) -> Result<Self, ModelError> {
        let fixed = [
            ("_class_name", json!("AutoencoderKL")),
            ("act_fn", json!("silu")),
            ("use_quant_conv", json!(true)),
            ("use_post_quant_conv", json!(true)),
            ("mid_block_add_attention", json!(true)),
            ("shift_factor", Value::Null),
            ("latents_mean", Value::Null),
            ("latents_std", Value::Null),
        ];
        require(&json, "", &fixed)?;
        complete(
            &mut json,
            json!({
                "in_channels": 3,
                "out_channels": 3,
                "down_block_types": ["DownEncoderBlock2D"],
                "up_block_types": ["UpDecoderBlock2D"],
                "block_out_channels": [64],
                "layers_per_block": 1,
                "latent_channels": 4,
                "norm_num_groups": 32,
                "scaling_factor": 0.18215,
            }),
        );
        let levels = json["block_out_channels"].as_array().map_or(0, Vec::len);
        let rows = [
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ];
        for (key, kind) in rows {
            require(&json, "", &[(key, json!(vec![kind; levels]))])?;
        }
        let config: Self = parse(json)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        let (channels, groups) = (&self.block_out_channels, self.norm_num_groups);
        let picture =
            |key, found: usize| (found == 3, key, found.to_string(), "3, the channels of a picture");
        limits::check([
            picture("in_channels", self.in_channels),
            picture("out_channels", self.out_channels),
            (
                (1..=8).contains(&channels.len()) && channels.iter().all(|&c| (1..=1 << 16).contains(&c)),
                "block_out_channels",
                format!("{channels:?}"),
                "1 to 8 numbers from 1 to 65536",
            ),
            (
                (1..=16).contains(&self.layers_per_block),
                "layers_per_block",
                self.layers_per_block.to_string(),
                "from 1 to 16",
            ),
            (
                self.latent_channels == 4,
                "latent_channels",
                self.latent_channels.to_string(),
                "4, as the U-net takes",
            ),
            (
                groups > 0 && channels.iter().all(|c| c.is_multiple_of(groups)),
                "norm_num_groups",
                groups.to_string(),
                "a divisor of each of block_out_channels",
            ),
            limits::positive("scaling_factor", self.scaling_factor),
        ])
    }
}

//! What diffusers' `config.json` says of the U-net and of the ControlNet, under its names.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::levels::{Level, PerLevel};
use crate::error::ModelError;
use crate::foreign::{complete, parse, require};
use crate::limits::{self, Rule};

/// What the U-net and the ControlNet have in common: `UNet2DConditionModel`'s and `ControlNetModel`'s configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnetConfig {
    /// Channels of the latents that go in.
    pub in_channels: usize,
    /// Channels that come out; a ControlNet has none.
    #[serde(default)]
    pub out_channels: usize,
    /// The way down.
    pub down_block_types: Vec<Level>,
    /// The way up; a ControlNet has none.
    #[serde(default)]
    pub up_block_types: Vec<Level>,
    /// Channels of each level, from the highest down.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level on the way down; on the way up it is one more.
    pub layers_per_block: usize,
    /// Attention heads of each level. The name is diffusers', which means the number of heads by it.
    pub attention_head_dim: PerLevel,
    /// Width of the description's tokens.
    pub cross_attention_dim: usize,
    /// Groups of the normalisations; divides every level's channels.
    pub norm_num_groups: usize,
    /// Epsilon of the residual blocks' normalisations.
    pub norm_eps: f64,
    /// Whether cosines come before sines in the embedding of time.
    pub flip_sin_to_cos: bool,
    /// Taken from the number of frequencies of that embedding.
    pub freq_shift: f64,
    /// Channels of the control image's network, from the image down: `ControlNetModel` only.
    #[serde(default)]
    pub conditioning_embedding_out_channels: Vec<usize>,
    /// Channels of the control image: `ControlNetModel` only.
    #[serde(default)]
    pub conditioning_channels: usize,
}

/// What both networks do one way only: key and value of diffusers' default.
fn fixed() -> Vec<(&'static str, Value)> {
    vec![
        ("act_fn", json!("silu")),
        ("center_input_sample", json!(false)),
        ("downsample_padding", json!(1)),
        ("mid_block_scale_factor", json!(1)),
        ("resnet_time_scale_shift", json!("default")),
        ("dual_cross_attention", json!(false)),
        ("only_cross_attention", json!(false)),
        ("mid_block_only_cross_attention", json!(false)),
        // Older files say no so; newer ones leave it out.
        ("cross_attention_norm", json!(false)),
        ("upcast_attention", json!(false)),
        ("transformer_layers_per_block", json!(1)),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("time_embedding_type", json!("positional")),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_out_scale_factor", json!(1)),
        ("class_embeddings_concat", json!(false)),
        ("attention_type", json!("default")),
        ("global_pool_conditions", json!(false)),
        ("controlnet_conditioning_channel_order", json!("rgb")),
    ]
}

/// What has to be absent: each stands for another network.
const ABSENT: [&str; 12] = [
    "class_embed_type",
    "addition_embed_type",
    "addition_time_embed_dim",
    "num_class_embeds",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
    "timestep_post_act",
    "time_embedding_act_fn",
    "time_embedding_dim",
    "projection_class_embeddings_input_dim",
    "reverse_transformer_layers_per_block",
];

impl UnetConfig {
    /// What diffusers calls a ControlNet in its configuration.
    pub(crate) const CONTROLNET: &'static str = "ControlNetModel";

    /// Stable Diffusion 1.5's.
    pub fn stable_diffusion_15() -> Self {
        use Level::{AttentiveDown, AttentiveUp, Down, Up};
        Self {
            in_channels: 4,
            out_channels: 4,
            down_block_types: vec![AttentiveDown, AttentiveDown, AttentiveDown, Down],
            up_block_types: vec![Up, AttentiveUp, AttentiveUp, AttentiveUp],
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: 2,
            attention_head_dim: PerLevel::Same(8),
            cross_attention_dim: 768,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            conditioning_embedding_out_channels: vec![],
            conditioning_channels: 0,
        }
    }

    /// The ControlNet that goes with this U-net, of the shape that was published for Stable Diffusion 1.5.
    pub fn with_control(&self) -> Self {
        Self {
            out_channels: 0,
            up_block_types: vec![],
            conditioning_embedding_out_channels: vec![16, 32, 96, 256],
            conditioning_channels: 3,
            ..self.clone()
        }
    }

    /// Reads `UNet2DConditionModel`'s configuration.
    ///
    /// # Errors
    /// [`ModelError::Foreign`] for a key that asks for another network, [`ModelError::Config`] for one out of range.
    pub fn of_unet(json: Map<String, Value>) -> Result<Self, ModelError> {
        let config = Self::read(json, "UNet2DConditionModel", json!({ "out_channels": 4 }))?;
        config.check_unet()?;
        Ok(config)
    }

    /// Reads `ControlNetModel`'s configuration.
    ///
    /// # Errors
    /// As [`of_unet`](Self::of_unet).
    pub fn of_controlnet(json: Map<String, Value>) -> Result<Self, ModelError> {
        let defaults = json!({
            "conditioning_embedding_out_channels": [16, 32, 96, 256],
            "conditioning_channels": 3,
        });
        let config = Self::read(json, Self::CONTROLNET, defaults)?;
        config.check_controlnet()?;
        Ok(config)
    }

    fn read(mut json: Map<String, Value>, class: &str, defaults: Value) -> Result<Self, ModelError> {
        require(&json, "", &[("_class_name", json!(class))])?;
        require(&json, "", &fixed())?;
        for key in ABSENT {
            require(&json, "", &[(key, Value::Null)])?;
        }
        // The newer key says the same as the older, and wins.
        if let Some(heads) = json
            .remove("num_attention_heads")
            .filter(|heads| !heads.is_null())
        {
            json.insert("attention_head_dim".into(), heads);
        }
        complete(&mut json, defaults);
        complete(
            &mut json,
            json!({
                "in_channels": 4,
                "down_block_types":
                    ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
                "block_out_channels": [320, 640, 1280, 1280],
                "layers_per_block": 2,
                "attention_head_dim": 8,
                "cross_attention_dim": 1280,
                "norm_num_groups": 32,
                "norm_eps": 1e-5,
                "flip_sin_to_cos": true,
                "freq_shift": 0,
            }),
        );
        parse(json)
    }

    fn check_unet(&self) -> Result<(), ModelError> {
        let levels = self.block_out_channels.len();
        let up = &self.up_block_types;
        let mirrored = up.len() == levels && up.iter().all(|level| !level.is_down());
        let latent = "4: a U-net that takes a picture's latents and nothing else";
        limits::check(self.rules().into_iter().chain([
            (
                self.in_channels == 4,
                "in_channels",
                self.in_channels.to_string(),
                latent,
            ),
            (
                self.out_channels == self.in_channels,
                "out_channels",
                self.out_channels.to_string(),
                "as many as in_channels",
            ),
            (
                mirrored,
                "up_block_types",
                format!("{up:?}"),
                "an UpBlock2D or CrossAttnUpBlock2D for each of block_out_channels",
            ),
        ]))
    }

    fn check_controlnet(&self) -> Result<(), ModelError> {
        let widths = &self.conditioning_embedding_out_channels;
        let four = widths.len() == 4
            && widths
                .iter()
                .all(|&width| (1..=limits::MOST_ENTRIES).contains(&width));
        limits::check(self.rules().into_iter().chain([
            (
                self.in_channels == 4,
                "in_channels",
                self.in_channels.to_string(),
                "4: a ControlNet that takes a picture's latents and a control image",
            ),
            (
                four,
                "conditioning_embedding_out_channels",
                format!("{widths:?}"),
                "four widths, which bring the control image to an eighth of its size",
            ),
            (
                self.conditioning_channels == 3,
                "conditioning_channels",
                self.conditioning_channels.to_string(),
                "3, the channels of a picture",
            ),
        ]))
    }

    /// Whether this ControlNet was made for a U-net of that shape.
    ///
    /// # Errors
    /// [`ModelError::Foreign`] with the first key that differs.
    pub(in crate::diffusion) fn check_fits(&self, unet: &Self) -> Result<(), ModelError> {
        let keys = [
            (
                "block_out_channels",
                format!("{:?}", self.block_out_channels),
                format!("{:?}", unet.block_out_channels),
            ),
            (
                "layers_per_block",
                self.layers_per_block.to_string(),
                unet.layers_per_block.to_string(),
            ),
            (
                "cross_attention_dim",
                self.cross_attention_dim.to_string(),
                unet.cross_attention_dim.to_string(),
            ),
        ];
        match keys.into_iter().find(|(_, ours, theirs)| ours != theirs) {
            Some((key, ours, theirs)) => Err(ModelError::Foreign {
                reason: format!(
                    "{key} = {ours}: expected {theirs}; this ControlNet was made for another U-net"
                ),
            }),
            None => Ok(()),
        }
    }

    fn rules(&self) -> Vec<Rule> {
        let (channels, levels) = (&self.block_out_channels, self.block_out_channels.len());
        let heads = |level: usize| self.attention_head_dim.at(level);
        let divides = |by: usize, number: usize| by > 0 && number.is_multiple_of(by);
        let down = &self.down_block_types;
        vec![
            (
                (1..=8).contains(&levels) && channels.iter().all(|&c| (1..=1 << 16).contains(&c)),
                "block_out_channels",
                format!("{channels:?}"),
                "1 to 8 numbers from 1 to 65536",
            ),
            (
                down.len() == levels && down.iter().all(|level| level.is_down()),
                "down_block_types",
                format!("{down:?}"),
                "a DownBlock2D or CrossAttnDownBlock2D for each of block_out_channels",
            ),
            (
                (1..=16).contains(&self.layers_per_block),
                "layers_per_block",
                self.layers_per_block.to_string(),
                "from 1 to 16",
            ),
            (
                channels.iter().all(|&c| divides(self.norm_num_groups, c)),
                "norm_num_groups",
                self.norm_num_groups.to_string(),
                "a divisor of each of block_out_channels",
            ),
            (
                self.attention_head_dim.fits(levels)
                    && channels
                        .iter()
                        .enumerate()
                        .all(|(level, &c)| divides(heads(level), c)),
                "attention_head_dim",
                format!("{:?}", self.attention_head_dim),
                "one number of heads, or one for each of block_out_channels, that divides it",
            ),
            limits::entries("cross_attention_dim", self.cross_attention_dim),
            limits::positive("norm_eps", self.norm_eps),
            (
                (0.0..=1.0).contains(&self.freq_shift),
                "freq_shift",
                self.freq_shift.to_string(),
                "from 0 to 1",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: Value) -> Result<UnetConfig, ModelError> {
        UnetConfig::of_unet([(key.to_owned(), value)].into_iter().collect())
    }

    #[test]
    fn what_asks_for_nothing_is_taken_and_what_asks_for_another_network_is_refused() {
        for key in ["cross_attention_norm", "mid_block_only_cross_attention"] {
            for harmless in [Value::Null, json!(false)] {
                read(key, harmless).unwrap();
            }
        }
        for (key, value) in [
            ("cross_attention_norm", json!("layer_norm")),
            ("mid_block_only_cross_attention", json!(true)),
            ("class_embed_type", json!("timestep")),
            ("time_embedding_dim", json!(64)),
        ] {
            let refused = read(key, value).unwrap_err().to_string();
            assert!(refused.contains(key), "{refused}");
        }
    }
}

//! What checkpoints call the weights of these networks: diffusers' names, the older ones of its autoencoder, and those of a
//! single file, which are the original implementation's (`ldm`).
//!
//! Our module tree is diffusers', but for what Rust's fields cannot be called.

use super::config::{AutoencoderConfig, UnetConfig};

/// diffusers' name of a weight of the U-net or the ControlNet.
pub(super) fn unet(ours: &str) -> String {
    ours.replace(".ff.proj.", ".ff.net.0.proj.")
        .replace(".ff.out.", ".ff.net.2.")
}

/// diffusers' name of a weight of the autoencoder.
pub(super) fn autoencoder(ours: &str) -> String {
    ours.replace(".attention.", ".")
}

/// The same before diffusers 0.18.
pub(super) fn autoencoder_before_018(ours: &str) -> String {
    autoencoder(ours)
        .replace(".to_q.", ".query.")
        .replace(".to_k.", ".key.")
        .replace(".to_v.", ".value.")
        .replace(".to_out.0.", ".proj_attn.")
}

/// Where a single file keeps each network.
pub(super) const SINGLE_UNET: &str = "model.diffusion_model.";
pub(super) const SINGLE_AUTOENCODER: &str = "first_stage_model.";
pub(super) const SINGLE_TEXT_ENCODER: &str = "cond_stage_model.transformer.";
pub(super) const SINGLE_CONTROLNET: &str = "control_model.";

/// A single file's name of a weight of the U-net, below [`SINGLE_UNET`].
pub(super) fn single_unet(config: &UnetConfig, ours: &str) -> String {
    let theirs = unet(ours);
    let path: Vec<&str> = theirs.split('.').collect();
    let layers = config.layers_per_block;
    let number = |part: &str| part.parse::<usize>().unwrap_or_default();
    match path.as_slice() {
        ["conv_in", rest] => format!("input_blocks.0.0.{rest}"),
        ["time_embedding", "linear_1", rest] => format!("time_embed.0.{rest}"),
        ["time_embedding", "linear_2", rest] => format!("time_embed.2.{rest}"),
        ["conv_norm_out", rest] => format!("out.0.{rest}"),
        ["conv_out", rest] => format!("out.2.{rest}"),
        ["down_blocks", level, kind, index, rest @ ..] => {
            let block = 1 + number(level) * (layers + 1) + number(index);
            match *kind {
                "resnets" => format!("input_blocks.{block}.0.{}", single_resnet(rest)),
                "attentions" => format!("input_blocks.{block}.1.{}", rest.join(".")),
                // `downsamplers.0.conv`
                _ => format!("input_blocks.{}.0.op.{}", block + layers, rest[1..].join(".")),
            }
        }
        ["mid_block", "resnets", index, rest @ ..] => {
            format!("middle_block.{}.{}", 2 * number(index), single_resnet(rest))
        }
        ["mid_block", "attentions", _, rest @ ..] => format!("middle_block.1.{}", rest.join(".")),
        ["up_blocks", level, kind, index, rest @ ..] => {
            let block = number(level) * (layers + 1) + number(index);
            let attentive = config
                .up_block_types
                .get(number(level))
                .is_some_and(|level| level.is_attentive());
            match *kind {
                "resnets" => format!("output_blocks.{block}.0.{}", single_resnet(rest)),
                "attentions" => format!("output_blocks.{block}.1.{}", rest.join(".")),
                // `upsamplers.0.conv`, behind the level's last transformer where it has them.
                _ => format!(
                    "output_blocks.{}.{}.{}",
                    block + layers,
                    1 + usize::from(attentive),
                    rest.join(".")
                ),
            }
        }
        _ => theirs,
    }
}

fn single_resnet(rest: &[&str]) -> String {
    let (layer, rest) = (rest[0], rest[1..].join("."));
    let layer = match layer {
        "norm1" => "in_layers.0",
        "conv1" => "in_layers.2",
        "time_emb_proj" => "emb_layers.1",
        "norm2" => "out_layers.0",
        "conv2" => "out_layers.3",
        "conv_shortcut" => "skip_connection",
        other => other,
    };
    format!("{layer}.{rest}")
}

/// A single file's name of a weight of the ControlNet, below [`SINGLE_CONTROLNET`].
pub(super) fn single_controlnet(config: &UnetConfig, ours: &str) -> String {
    // The control image's convolutions are every second layer there, behind each an activation.
    let hint = |convolution: usize, rest: &str| format!("input_hint_block.{}.{rest}", 2 * convolution);
    let within = 2 * config.conditioning_embedding_out_channels.len().saturating_sub(1);
    let path: Vec<&str> = ours.split('.').collect();
    match path.as_slice() {
        ["controlnet_cond_embedding", "conv_in", rest] => hint(0, rest),
        ["controlnet_cond_embedding", "blocks", index, rest] => {
            hint(1 + index.parse::<usize>().unwrap_or_default(), rest)
        }
        ["controlnet_cond_embedding", "conv_out", rest] => hint(1 + within, rest),
        ["controlnet_down_blocks", index, rest] => format!("zero_convs.{index}.0.{rest}"),
        ["controlnet_mid_block", rest] => format!("middle_block_out.0.{rest}"),
        _ => single_unet(config, ours),
    }
}

/// A single file's name of a weight of the autoencoder, below [`SINGLE_AUTOENCODER`].
pub(super) fn single_autoencoder(config: &AutoencoderConfig, ours: &str) -> String {
    let theirs = autoencoder(ours);
    let path: Vec<&str> = theirs.split('.').collect();
    let last = config.block_out_channels.len() - 1;
    let number = |part: &str| part.parse::<usize>().unwrap_or_default();
    let resnet = |rest: &[&str]| rest.join(".").replace("conv_shortcut", "nin_shortcut");
    match path.as_slice() {
        [half, "down_blocks", level, "resnets", index, rest @ ..] => {
            format!("{half}.down.{level}.block.{index}.{}", resnet(rest))
        }
        [half, "down_blocks", level, _, _, rest @ ..] => {
            format!("{half}.down.{level}.downsample.{}", rest.join("."))
        }
        // Counted from the highest level.
        [half, "up_blocks", level, "resnets", index, rest @ ..] => {
            format!(
                "{half}.up.{}.block.{index}.{}",
                last - number(level),
                resnet(rest)
            )
        }
        [half, "up_blocks", level, _, _, rest @ ..] => {
            format!("{half}.up.{}.upsample.{}", last - number(level), rest.join("."))
        }
        [half, "mid_block", "resnets", index, rest @ ..] => {
            format!("{half}.mid.block_{}.{}", number(index) + 1, resnet(rest))
        }
        [half, "mid_block", "attentions", _, rest @ ..] => {
            let layer = match rest[0] {
                "group_norm" => "norm",
                "to_q" => "q",
                "to_k" => "k",
                "to_v" => "v",
                _ => "proj_out",
            };
            let end = rest[rest.len() - 1];
            format!("{half}.mid.attn_1.{layer}.{end}")
        }
        [half, "conv_norm_out", rest] => format!("{half}.norm_out.{rest}"),
        _ => theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_single_file_are_found_where_the_original_implementation_has_them() {
        let config = UnetConfig::stable_diffusion_15();
        for (ours, theirs) in [
            ("conv_in.weight", "input_blocks.0.0.weight"),
            (
                "down_blocks.0.resnets.1.time_emb_proj.bias",
                "input_blocks.2.0.emb_layers.1.bias",
            ),
            (
                "down_blocks.1.attentions.0.norm.weight",
                "input_blocks.4.1.norm.weight",
            ),
            (
                "down_blocks.0.downsamplers.0.conv.weight",
                "input_blocks.3.0.op.weight",
            ),
            (
                "down_blocks.3.resnets.1.conv2.weight",
                "input_blocks.11.0.out_layers.3.weight",
            ),
            (
                "mid_block.attentions.0.transformer_blocks.0.ff.out.weight",
                "middle_block.1.transformer_blocks.0.ff.net.2.weight",
            ),
            (
                "mid_block.resnets.1.norm1.bias",
                "middle_block.2.in_layers.0.bias",
            ),
            (
                "up_blocks.0.upsamplers.0.conv.bias",
                "output_blocks.2.1.conv.bias",
            ),
            (
                "up_blocks.1.upsamplers.0.conv.bias",
                "output_blocks.5.2.conv.bias",
            ),
            (
                "up_blocks.3.resnets.2.conv_shortcut.weight",
                "output_blocks.11.0.skip_connection.weight",
            ),
        ] {
            assert_eq!(single_unet(&config, ours), theirs);
        }
        let config = config.with_control();
        for (ours, theirs) in [
            (
                "controlnet_cond_embedding.conv_in.weight",
                "input_hint_block.0.weight",
            ),
            (
                "controlnet_cond_embedding.blocks.5.bias",
                "input_hint_block.12.bias",
            ),
            (
                "controlnet_cond_embedding.conv_out.bias",
                "input_hint_block.14.bias",
            ),
            ("controlnet_down_blocks.11.weight", "zero_convs.11.0.weight"),
            ("controlnet_mid_block.bias", "middle_block_out.0.bias"),
            (
                "mid_block.resnets.1.norm1.bias",
                "middle_block.2.in_layers.0.bias",
            ),
        ] {
            assert_eq!(single_controlnet(&config, ours), theirs);
        }
        let config = AutoencoderConfig::stable_diffusion_15();
        for (ours, theirs) in [
            (
                "encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
                "encoder.down.1.block.0.nin_shortcut.bias",
            ),
            (
                "decoder.up_blocks.0.resnets.2.conv1.weight",
                "decoder.up.3.block.2.conv1.weight",
            ),
            (
                "decoder.up_blocks.2.upsamplers.0.conv.weight",
                "decoder.up.1.upsample.conv.weight",
            ),
            (
                "decoder.mid_block.attentions.0.attention.to_out.0.weight",
                "decoder.mid.attn_1.proj_out.weight",
            ),
            ("encoder.conv_norm_out.weight", "encoder.norm_out.weight"),
            ("quant_conv.weight", "quant_conv.weight"),
        ] {
            assert_eq!(single_autoencoder(&config, ours), theirs);
        }
    }
}

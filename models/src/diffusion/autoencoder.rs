//! Pictures to latents and back.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};

use super::attention::{Attention, SliceBytes};
use super::blocks::{ResnetBlock, ResnetShape};
use super::config::AutoencoderConfig;
use super::fresh::Fresh;
use super::layers::{Conv2d, Downsample, GroupNorm, Upsample};
use super::transformer::{to_pixels, to_tokens};

mod tiles;

pub use tiles::Tiles;

/// Epsilon of its normalisations; diffusers has it in code, not in the configuration.
const EPSILON: f64 = 1e-6;

/// `AutoencoderKL` of diffusers.
#[derive(Module, Debug)]
pub struct Autoencoder {
    /// Pictures to features.
    pub encoder: Encoder,
    /// Features to pictures.
    pub decoder: Decoder,
    /// Features to mean and log variance of the latents.
    pub quant_conv: Conv2d,
    /// Latents to features.
    pub post_quant_conv: Conv2d,
}

/// Down to latents.
#[derive(Module, Debug)]
pub struct Encoder {
    /// The picture to the first level's channels.
    pub conv_in: Conv2d,
    /// The levels.
    pub down_blocks: Vec<EncoderLevel>,
    /// The turning point.
    pub mid_block: EncoderMiddle,
    /// Before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// To twice the latents' channels.
    pub conv_out: Conv2d,
}

/// Up to a picture.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Latents to the last level's channels.
    pub conv_in: Conv2d,
    /// The turning point.
    pub mid_block: EncoderMiddle,
    /// The levels.
    pub up_blocks: Vec<DecoderLevel>,
    /// Before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// To the picture's channels.
    pub conv_out: Conv2d,
}

/// Residual blocks, then half the size.
#[derive(Module, Debug)]
pub struct EncoderLevel {
    /// Residual blocks.
    pub resnets: Vec<ResnetBlock>,
    /// None at the last level.
    pub downsamplers: Vec<Downsample>,
}

/// Residual blocks, then twice the size.
#[derive(Module, Debug)]
pub struct DecoderLevel {
    /// Residual blocks.
    pub resnets: Vec<ResnetBlock>,
    /// None at the last level.
    pub upsamplers: Vec<Upsample>,
}

/// Two residual blocks and attention over all pixels between them.
#[derive(Module, Debug)]
pub struct EncoderMiddle {
    /// The residual blocks.
    pub resnets: Vec<ResnetBlock>,
    /// Attention; a list because checkpoints number it.
    pub attentions: Vec<PixelAttention>,
}

/// `x + attention(norm(x))` over all pixels.
#[derive(Module, Debug)]
pub struct PixelAttention {
    /// Before attention.
    pub group_norm: GroupNorm,
    /// One head. Its layers lie beside the normalisation in checkpoints.
    pub attention: Attention,
}

/// A normal distribution over latents, one mean and deviation each.
#[derive(Debug, Clone)]
pub struct Latents {
    /// `[rows, 4, height, width]`.
    pub mean: Tensor<4>,
    /// Natural logarithm of the variance, limited to -30 to 20; the mean's shape.
    pub log_variance: Tensor<4>,
}

impl Latents {
    /// `mean + deviation * noise`, the noise of the mean's shape.
    pub fn sample(self, noise: Tensor<4>) -> Tensor<4> {
        self.mean + (self.log_variance * 0.5).exp() * noise
    }
}

impl AutoencoderConfig {
    /// Fresh weights: layers from N(0, 1 / fan-in).
    pub fn init(&self, device: &Device, seed: u64) -> Autoencoder {
        let fresh = Fresh { device, seed };
        let latents = self.latent_channels;
        Autoencoder {
            encoder: self.encoder(fresh.at("encoder")),
            decoder: self.decoder(fresh.at("decoder")),
            quant_conv: fresh.conv("quant_conv", 2 * latents, 2 * latents, 1),
            post_quant_conv: fresh.conv("post_quant_conv", latents, latents, 1),
        }
    }

    fn encoder(&self, fresh: Fresh<'_>) -> Encoder {
        let (channels, levels) = (&self.block_out_channels, self.block_out_channels.len());
        let lowest = channels[levels - 1];
        let level = |index: usize| {
            let (fresh, output) = (fresh.nth("down_blocks", index), channels[index]);
            let halved = Downsample::fresh(fresh.nth("downsamplers", 0), output, true);
            EncoderLevel {
                resnets: self.resnets(
                    fresh,
                    self.layers_per_block,
                    channels[index.saturating_sub(1)],
                    output,
                ),
                downsamplers: (index + 1 < levels).then_some(halved).into_iter().collect(),
            }
        };
        Encoder {
            conv_in: fresh.conv("conv_in", self.in_channels, channels[0], 3),
            down_blocks: (0..levels).map(level).collect(),
            mid_block: self.middle(fresh.at("mid_block"), lowest),
            conv_norm_out: fresh.group_norm(self.norm_num_groups, lowest, EPSILON),
            conv_out: fresh.conv("conv_out", lowest, 2 * self.latent_channels, 3),
        }
    }

    fn decoder(&self, fresh: Fresh<'_>) -> Decoder {
        let upwards: Vec<usize> = self.block_out_channels.iter().rev().copied().collect();
        let (lowest, highest) = (upwards[0], upwards[upwards.len() - 1]);
        let level = |index: usize| {
            let (fresh, output) = (fresh.nth("up_blocks", index), upwards[index]);
            let doubled = Upsample::fresh(fresh.nth("upsamplers", 0), output);
            DecoderLevel {
                resnets: self.resnets(
                    fresh,
                    self.layers_per_block + 1,
                    upwards[index.saturating_sub(1)],
                    output,
                ),
                upsamplers: (index + 1 < upwards.len())
                    .then_some(doubled)
                    .into_iter()
                    .collect(),
            }
        };
        Decoder {
            conv_in: fresh.conv("conv_in", self.latent_channels, lowest, 3),
            mid_block: self.middle(fresh.at("mid_block"), lowest),
            up_blocks: (0..upwards.len()).map(level).collect(),
            conv_norm_out: fresh.group_norm(self.norm_num_groups, highest, EPSILON),
            conv_out: fresh.conv("conv_out", highest, self.out_channels, 3),
        }
    }

    fn middle(&self, fresh: Fresh<'_>, channels: usize) -> EncoderMiddle {
        EncoderMiddle {
            resnets: self.resnets(fresh, 2, channels, channels),
            attentions: vec![PixelAttention {
                group_norm: fresh.group_norm(self.norm_num_groups, channels, EPSILON),
                attention: Attention::fresh_with_bias(fresh.nth("attentions", 0), channels),
            }],
        }
    }

    fn resnets(&self, fresh: Fresh<'_>, count: usize, input: usize, output: usize) -> Vec<ResnetBlock> {
        let resnet = |index: usize| {
            let shape = ResnetShape {
                input: if index == 0 { input } else { output },
                output,
                time: None,
                groups: self.norm_num_groups,
                epsilon: EPSILON,
            };
            ResnetBlock::fresh(fresh.nth("resnets", index), shape)
        };
        (0..count).map(resnet).collect()
    }
}

impl Autoencoder {
    /// The latents of pictures, not yet multiplied by the scaling factor.
    ///
    /// # Shapes
    /// `[rows, 3, height, width]`, values -1 to 1 -> `[rows, 4, height / 8, width / 8]`
    pub fn encode(&self, pictures: Tensor<4>, slice: SliceBytes) -> Latents {
        let moments = self.quant_conv.forward(self.encoder.forward(pictures, slice));
        let channels = moments.dims()[1] / 2;
        Latents {
            mean: moments.clone().narrow(1, 0, channels),
            log_variance: moments.narrow(1, channels, channels).clamp(-30.0, 20.0),
        }
    }

    /// The pictures of latents, which have been divided by the scaling factor.
    ///
    /// # Shapes
    /// `[rows, 4, height, width]` -> `[rows, 3, 8 height, 8 width]`, values about -1 to 1
    pub fn decode(&self, latents: Tensor<4>, slice: SliceBytes) -> Tensor<4> {
        self.decoder.forward(self.post_quant_conv.forward(latents), slice)
    }

    /// The number format that it computes in.
    pub fn dtype(&self) -> DType {
        self.quant_conv.weight.val().dtype()
    }
}

impl Encoder {
    fn forward(&self, pictures: Tensor<4>, slice: SliceBytes) -> Tensor<4> {
        let x = self
            .down_blocks
            .iter()
            .fold(self.conv_in.forward(pictures), |x, level| level.forward(x));
        let x = self.mid_block.forward(x, slice);
        self.conv_out.forward(self.conv_norm_out.silu(x))
    }
}

impl Decoder {
    fn forward(&self, features: Tensor<4>, slice: SliceBytes) -> Tensor<4> {
        let x = self.mid_block.forward(self.conv_in.forward(features), slice);
        let x = self.up_blocks.iter().fold(x, |x, level| level.forward(x));
        self.conv_out.forward(self.conv_norm_out.silu(x))
    }
}

impl EncoderLevel {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = through(&self.resnets, x);
        self.downsamplers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

impl DecoderLevel {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = through(&self.resnets, x);
        self.upsamplers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

impl EncoderMiddle {
    fn forward(&self, mut x: Tensor<4>, slice: SliceBytes) -> Tensor<4> {
        for (index, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, None);
            if let Some(attention) = self.attentions.get(index) {
                x = attention.forward(x, slice);
            }
        }
        x
    }
}

impl PixelAttention {
    fn forward(&self, x: Tensor<4>, slice: SliceBytes) -> Tensor<4> {
        let shape = x.dims();
        let tokens = to_tokens(self.group_norm.forward(x.clone()));
        x + to_pixels(self.attention.forward(tokens.clone(), tokens, slice), shape)
    }
}

fn through(resnets: &[ResnetBlock], x: Tensor<4>) -> Tensor<4> {
    resnets.iter().fold(x, |x, resnet| resnet.forward(x, None))
}

//! The network that steers the U-net by a control image, such as the product's edges.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};

use super::attention::SliceBytes;
use super::blocks::{Condition, DownBlock, MidBlock, activated};
use super::config::UnetConfig;
use super::fresh::Fresh;
use super::layers::Conv2d;
use super::time::{Sinusoids, TimestepEmbedding};
use super::unet::{Residuals, down};

/// `ControlNetModel` of diffusers ("Adding conditional control to text-to-image diffusion models",
/// [arXiv 2302.05543](https://arxiv.org/abs/2302.05543)): the U-net's way down once more, which also sees the control image.
#[derive(Module, Debug)]
pub struct ControlNet {
    /// Latents to the first level's channels.
    pub conv_in: Conv2d,
    /// How noisy the input is.
    pub time_embedding: TimestepEmbedding,
    /// The control image to the latents' size.
    pub controlnet_cond_embedding: ControlEmbedding,
    /// The way down.
    pub down_blocks: Vec<DownBlock>,
    /// The turning point.
    pub mid_block: MidBlock,
    /// What each of the U-net's skip connections is given.
    pub controlnet_down_blocks: Vec<Conv2d>,
    /// What its turning point is given.
    pub controlnet_mid_block: Conv2d,
    #[module(skip)]
    sinusoids: Sinusoids,
}

/// A small network of convolutions that brings a picture to an eighth of its size.
#[derive(Module, Debug)]
pub struct ControlEmbedding {
    /// The picture to the first width.
    pub conv_in: Conv2d,
    /// Pairs: within a width, then to the next at half the size.
    pub blocks: Vec<Conv2d>,
    /// To the first level's channels; zero in a fresh network.
    pub conv_out: Conv2d,
}

impl UnetConfig {
    /// Fresh weights; all connections to the U-net are zero, so that a fresh ControlNet changes nothing.
    pub fn init_controlnet(&self, device: &Device, seed: u64) -> ControlNet {
        let fresh = Fresh { device, seed };
        let (channels, highest) = (&self.block_out_channels, self.block_out_channels[0]);
        let lowest = channels[channels.len() - 1];
        let connection = |width: usize| fresh.zero_conv(width, width, 1);
        ControlNet {
            conv_in: fresh.conv("conv_in", self.in_channels, highest, 3),
            time_embedding: TimestepEmbedding::fresh(fresh.at("time_embedding"), highest, self.time_width()),
            controlnet_cond_embedding: self.control_embedding(fresh.at("controlnet_cond_embedding")),
            down_blocks: self.down_blocks(fresh),
            mid_block: self.mid_block(fresh),
            controlnet_down_blocks: self.skip_channels().into_iter().map(connection).collect(),
            controlnet_mid_block: connection(lowest),
            sinusoids: self.sinusoids(),
        }
    }

    fn control_embedding(&self, fresh: Fresh<'_>) -> ControlEmbedding {
        let widths = &self.conditioning_embedding_out_channels;
        let pair = |(index, pair): (usize, &[usize])| {
            let within = fresh.conv(&format!("blocks.{}", 2 * index), pair[0], pair[0], 3);
            let on = fresh.conv(&format!("blocks.{}", 2 * index + 1), pair[0], pair[1], 3);
            [within, on.with(2, 1)]
        };
        ControlEmbedding {
            conv_in: fresh.conv("conv_in", self.conditioning_channels, widths[0], 3),
            blocks: widths.windows(2).enumerate().flat_map(pair).collect(),
            conv_out: fresh.zero_conv(widths[widths.len() - 1], self.block_out_channels[0], 3),
        }
    }

    /// Channels of the U-net's skip connections, in the order of the way down.
    pub fn skip_channels(&self) -> Vec<usize> {
        let (channels, levels) = (&self.block_out_channels, self.block_out_channels.len());
        let of_level = |(index, &width): (usize, &usize)| {
            let halved = usize::from(index + 1 < levels);
            vec![width; self.layers_per_block + halved]
        };
        let below = channels.iter().enumerate().flat_map(of_level);
        std::iter::once(channels[0]).chain(below).collect()
    }
}

impl ControlEmbedding {
    /// The control image as the ControlNet adds it, the same in every step.
    ///
    /// # Shapes
    /// `[rows, 3, height, width]`, values 0 to 1 -> `[rows, channels, height / 8, width / 8]`
    pub fn forward(&self, image: Tensor<4>) -> Tensor<4> {
        let x = activation::silu(self.conv_in.forward(image));
        let x = self
            .blocks
            .iter()
            .fold(x, |x, block| activation::silu(block.forward(x)));
        self.conv_out.forward(x)
    }
}

impl ControlNet {
    /// What the U-net is to add to its skip connections.
    ///
    /// # Shapes
    /// - `latents`: `[rows, 4, height, width]`
    /// - `context`: `[rows, tokens, cross_attention_dim]`
    /// - `control`: what [`ControlEmbedding::forward`] made, with one row or as many as the latents
    pub fn forward(
        &self,
        latents: Tensor<4>,
        timestep: f64,
        context: Tensor<3>,
        control: Tensor<4>,
        scale: f64,
        slice: SliceBytes,
    ) -> Residuals {
        let sinusoids = self.sinusoids.of(timestep, &latents.device());
        let condition = Condition {
            time: activated(self.time_embedding.forward(sinusoids, self.dtype())),
            context,
            slice,
        };
        let x = self.conv_in.forward(latents) + control;
        let (skips, mid) = down(&self.down_blocks, &self.mid_block, x, &condition);
        let connections = self.controlnet_down_blocks.iter();
        Residuals {
            down: connections
                .zip(skips)
                .map(|(connection, skip)| connection.forward(skip).mul_scalar(scale))
                .collect(),
            mid: self.controlnet_mid_block.forward(mid).mul_scalar(scale),
        }
    }

    /// The number format that it computes in.
    pub fn dtype(&self) -> DType {
        self.conv_in.weight.val().dtype()
    }
}

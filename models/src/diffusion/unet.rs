//! The network that tells the noise in a latent picture: a U of residual blocks and transformers.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};

use super::attention::SliceBytes;
use super::blocks::{Condition, DownBlock, LevelShape, MidBlock, UpBlock, activated};
use super::config::UnetConfig;
use super::fresh::Fresh;
use super::layers::{Conv2d, GroupNorm};
use super::time::{Sinusoids, TimestepEmbedding};

/// `UNet2DConditionModel` of diffusers ("High-resolution image synthesis with latent diffusion models",
/// [arXiv 2112.10752](https://arxiv.org/abs/2112.10752)).
#[derive(Module, Debug)]
pub struct Unet {
    /// Latents to the first level's channels.
    pub conv_in: Conv2d,
    /// How noisy the input is.
    pub time_embedding: TimestepEmbedding,
    /// The way down.
    pub down_blocks: Vec<DownBlock>,
    /// The turning point.
    pub mid_block: MidBlock,
    /// The way up.
    pub up_blocks: Vec<UpBlock>,
    /// Before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// Back to the latents' channels.
    pub conv_out: Conv2d,
    #[module(skip)]
    sinusoids: Sinusoids,
}

/// What a ControlNet adds to the way down and to the turning point.
#[derive(Debug, Clone)]
pub struct Residuals {
    /// One for each of the way down's skip connections, in its order.
    pub down: Vec<Tensor<4>>,
    /// For the turning point.
    pub mid: Tensor<4>,
}

impl UnetConfig {
    /// Fresh weights: layers from N(0, 1 / fan-in).
    pub fn init_unet(&self, device: &Device, seed: u64) -> Unet {
        let fresh = Fresh { device, seed };
        let (channels, time) = (&self.block_out_channels, self.time_width());
        let highest = channels[0];
        Unet {
            conv_in: fresh.conv("conv_in", self.in_channels, highest, 3),
            time_embedding: TimestepEmbedding::fresh(fresh.at("time_embedding"), highest, time),
            down_blocks: self.down_blocks(fresh),
            mid_block: self.mid_block(fresh),
            up_blocks: self.up_blocks(fresh),
            conv_norm_out: fresh.group_norm(self.norm_num_groups, highest, self.norm_eps),
            conv_out: fresh.conv("conv_out", highest, self.out_channels, 3),
            sinusoids: self.sinusoids(),
        }
    }

    /// Width of the embedding of time: four times the highest level's channels, as in diffusers.
    pub(super) fn time_width(&self) -> usize {
        4 * self.block_out_channels[0]
    }

    pub(super) fn sinusoids(&self) -> Sinusoids {
        Sinusoids {
            width: self.block_out_channels[0],
            cosines_first: self.flip_sin_to_cos,
            freq_shift: self.freq_shift,
        }
    }

    pub(super) fn down_blocks(&self, fresh: Fresh<'_>) -> Vec<DownBlock> {
        let channels = &self.block_out_channels;
        let block = |index: usize| {
            let input = channels[index.saturating_sub(1)];
            let level = self.level(
                index,
                self.down_block_types[index].is_attentive(),
                self.layers_per_block,
            );
            let is_last = index + 1 == channels.len();
            DownBlock::fresh(
                fresh.nth("down_blocks", index),
                level,
                input,
                channels[index],
                is_last,
            )
        };
        (0..channels.len()).map(block).collect()
    }

    pub(super) fn mid_block(&self, fresh: Fresh<'_>) -> MidBlock {
        let last = self.block_out_channels.len() - 1;
        let level = self.level(last, true, 2);
        MidBlock::fresh(fresh.at("mid_block"), level, self.block_out_channels[last])
    }

    fn up_blocks(&self, fresh: Fresh<'_>) -> Vec<UpBlock> {
        let (channels, count) = (&self.block_out_channels, self.block_out_channels.len());
        let block = |index: usize| {
            let at = count - 1 - index;
            let (output, below) = (channels[at], channels[(at + 1).min(count - 1)]);
            // What the way down left at this level: its own channels, and at last those of the level above.
            let above = channels[at.saturating_sub(1)];
            let inputs: Vec<usize> = (0..=self.layers_per_block)
                .map(|layer| {
                    let from_below = if layer == 0 { below } else { output };
                    let skipped = if layer == self.layers_per_block {
                        above
                    } else {
                        output
                    };
                    from_below + skipped
                })
                .collect();
            let level = self.level(at, self.up_block_types[index].is_attentive(), inputs.len());
            UpBlock::fresh(fresh.nth("up_blocks", index), level, &inputs, output, at == 0)
        };
        (0..count).map(block).collect()
    }

    fn level(&self, index: usize, is_attentive: bool, layers: usize) -> LevelShape {
        LevelShape {
            layers,
            time: self.time_width(),
            groups: self.norm_num_groups,
            epsilon: self.norm_eps,
            attention: is_attentive.then(|| (self.attention_head_dim.at(index), self.cross_attention_dim)),
        }
    }
}

impl Unet {
    /// The noise (or velocity) in `latents`.
    ///
    /// # Shapes
    /// - `latents`: `[rows, 4, height, width]`, noise level of `timestep` for all rows
    /// - `context`: `[rows, tokens, cross_attention_dim]`
    /// - `residuals`: as many as there are skip connections
    /// - output: as `latents`
    pub fn forward(
        &self,
        latents: Tensor<4>,
        timestep: f64,
        context: Tensor<3>,
        residuals: Option<Residuals>,
        slice: SliceBytes,
    ) -> Tensor<4> {
        let condition = Condition {
            time: self.time(timestep, &latents.device()),
            context,
            slice,
        };
        let (mut skips, mut x) = down(
            &self.down_blocks,
            &self.mid_block,
            self.conv_in.forward(latents),
            &condition,
        );
        if let Some(residuals) = residuals {
            skips = skips
                .into_iter()
                .zip(residuals.down)
                .map(|(skip, residual)| skip + residual)
                .collect();
            x = x + residuals.mid;
        }
        for block in &self.up_blocks {
            x = block.forward(x, &condition, &mut skips);
        }
        self.conv_out.forward(self.conv_norm_out.silu(x))
    }

    /// The embedding of a timestep, `[1, 4 * channels of the highest level]`, before the activation.
    pub(super) fn embedded(&self, timestep: f64, device: &Device) -> Tensor<2> {
        let sinusoids = self.sinusoids.of(timestep, device);
        self.time_embedding.forward(sinusoids, self.dtype())
    }

    fn time(&self, timestep: f64, device: &Device) -> Tensor<2> {
        activated(self.embedded(timestep, device))
    }

    /// The number format that it computes in.
    pub fn dtype(&self) -> DType {
        self.conv_in.weight.val().dtype()
    }
}

/// The way down and the turning point: what is left for the way up, and what goes there.
pub(super) fn down(
    blocks: &[DownBlock],
    mid: &MidBlock,
    x: Tensor<4>,
    condition: &Condition,
) -> (Vec<Tensor<4>>, Tensor<4>) {
    let mut skips = vec![x.clone()];
    let x = blocks
        .iter()
        .fold(x, |x, block| block.forward(x, condition, &mut skips));
    (skips, mid.forward(x, condition))
}

//! The transformer that lets every pixel see every other one and the description ("High-resolution image synthesis with
//! latent diffusion models", [arXiv 2112.10752](https://arxiv.org/abs/2112.10752), section 3.3).

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::attention::{Attention, SliceBytes};
use super::fresh::Fresh;
use super::layers::GroupNorm;
use crate::linear::Linear;
use crate::norm::LayerNorm;

/// Its shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformerShape {
    pub(super) channels: usize,
    pub(super) heads: usize,
    /// Width of the description's tokens.
    pub(super) context: usize,
    pub(super) groups: usize,
}

/// Pixels to tokens, one block, tokens to pixels, all beside the input.
#[derive(Module, Debug)]
pub struct Transformer2d {
    /// Before everything.
    pub norm: GroupNorm,
    /// In. Checkpoints hold it as a matrix or as a 1x1 convolution, which is the same.
    pub proj_in: Linear,
    /// The block; a list because checkpoints number it.
    pub transformer_blocks: Vec<TransformerBlock>,
    /// Out.
    pub proj_out: Linear,
}

/// Attention to the pixels, attention to the description, a feed-forward block, each beside its input.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Before attention to the pixels.
    pub norm1: LayerNorm,
    /// To the pixels.
    pub attn1: Attention,
    /// Before attention to the description.
    pub norm2: LayerNorm,
    /// To the description.
    pub attn2: Attention,
    /// Before the feed-forward block.
    pub norm3: LayerNorm,
    /// The feed-forward block.
    pub ff: FeedForward,
}

/// A gated feed-forward block ("GLU variants improve transformer", [arXiv 2002.05202](https://arxiv.org/abs/2002.05202)):
/// `out(value * gelu(gate))`, where `[value, gate] = proj(x)`.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// To twice the middle's width. `net.0.proj` in checkpoints.
    pub proj: Linear,
    /// Back. `net.2` in checkpoints.
    pub out: Linear,
}

impl Transformer2d {
    pub(super) fn fresh(fresh: Fresh<'_>, shape: TransformerShape) -> Self {
        let TransformerShape {
            channels,
            heads,
            context,
            groups,
        } = shape;
        let block = fresh.nth("transformer_blocks", 0);
        let (ff, middle) = (block.at("ff"), 4 * channels);
        Self {
            norm: fresh.group_norm(groups, channels, 1e-6),
            proj_in: fresh.linear("proj_in", channels, channels),
            transformer_blocks: vec![TransformerBlock {
                norm1: fresh.layer_norm(channels),
                attn1: Attention::fresh(block.at("attn1"), channels, channels, heads),
                norm2: fresh.layer_norm(channels),
                attn2: Attention::fresh(block.at("attn2"), channels, context, heads),
                norm3: fresh.layer_norm(channels),
                ff: FeedForward {
                    proj: ff.linear("proj", channels, 2 * middle),
                    out: ff.linear("out", middle, channels),
                },
            }],
            proj_out: fresh.linear("proj_out", channels, channels),
        }
    }

    /// # Shapes
    /// - `x`: `[rows, channels, height, width]`
    /// - `context`: `[rows, tokens, context]`
    /// - output: as `x`
    pub fn forward(&self, x: Tensor<4>, context: &Tensor<3>, slice: SliceBytes) -> Tensor<4> {
        let [rows, channels, height, width] = x.dims();
        let tokens = to_tokens(self.norm.forward(x.clone()));
        let tokens = self.proj_in.forward(tokens);
        let tokens = self
            .transformer_blocks
            .iter()
            .fold(tokens, |tokens, block| block.forward(tokens, context, slice));
        let tokens = self.proj_out.forward(tokens);
        x + to_pixels(tokens, [rows, channels, height, width])
    }
}

impl TransformerBlock {
    /// # Shapes
    /// `[rows, pixels, channels]` -> the same
    fn forward(&self, x: Tensor<3>, context: &Tensor<3>, slice: SliceBytes) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let x = x + self.attn1.forward(normed.clone(), normed, slice);
        let normed = self.norm2.forward(x.clone());
        let x = x + self.attn2.forward(normed, context.clone(), slice);
        x.clone() + self.ff.forward(self.norm3.forward(x))
    }
}

impl FeedForward {
    /// # Shapes
    /// `[rows, pixels, channels]` -> the same
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mut halves = self.proj.forward(x).chunk(2, 2).into_iter();
        let (Some(value), Some(gate)) = (halves.next(), halves.next()) else {
            unreachable!("an even width has two halves")
        };
        self.out.forward(value * activation::gelu(gate))
    }
}

/// `[rows, channels, height, width]` -> `[rows, height * width, channels]`.
pub(super) fn to_tokens(x: Tensor<4>) -> Tensor<3> {
    let [rows, channels, height, width] = x.dims();
    x.reshape([rows, channels, height * width]).swap_dims(1, 2)
}

/// The inverse of [`to_tokens`].
pub(super) fn to_pixels(tokens: Tensor<3>, shape: [usize; 4]) -> Tensor<4> {
    tokens.swap_dims(1, 2).reshape(shape)
}

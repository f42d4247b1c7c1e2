//! The blocks of the U: a residual block, the ways down and up, the middle.

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::attention::SliceBytes;
use super::fresh::Fresh;
use super::layers::{Conv2d, Downsample, GroupNorm, Upsample};
use super::transformer::{Transformer2d, TransformerShape};
use crate::linear::Linear;

/// What all layers of a pass are told.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// How noisy the input is, `[1, embedding]`; SiLU is applied.
    pub(super) time: Tensor<2>,
    /// The description, `[rows, tokens, context]`.
    pub(super) context: Tensor<3>,
    pub(super) slice: SliceBytes,
}

/// `x + conv2(silu(norm2(conv1(silu(norm1(x))) + time)))`, the input brought to the output's channels where they differ.
#[derive(Module, Debug)]
pub struct ResnetBlock {
    /// Before the first convolution.
    pub norm1: GroupNorm,
    /// To the output's channels.
    pub conv1: Conv2d,
    /// Adds how noisy the input is; none in the autoencoder.
    pub time_emb_proj: Option<Linear>,
    /// Before the second convolution.
    pub norm2: GroupNorm,
    /// Within the output's channels.
    pub conv2: Conv2d,
    /// The input's way, where channels differ.
    pub conv_shortcut: Option<Conv2d>,
}

/// The shape of a residual block.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResnetShape {
    pub(super) input: usize,
    pub(super) output: usize,
    /// Width of the embedding of time, where there is one.
    pub(super) time: Option<usize>,
    pub(super) groups: usize,
    pub(super) epsilon: f64,
}

impl ResnetBlock {
    pub(super) fn fresh(fresh: Fresh<'_>, shape: ResnetShape) -> Self {
        let ResnetShape {
            input,
            output,
            time,
            groups,
            epsilon,
        } = shape;
        Self {
            norm1: fresh.group_norm(groups, input, epsilon),
            conv1: fresh.conv("conv1", input, output, 3),
            time_emb_proj: time.map(|width| fresh.linear("time_emb_proj", width, output)),
            norm2: fresh.group_norm(groups, output, epsilon),
            conv2: fresh.conv("conv2", output, output, 3),
            conv_shortcut: (input != output).then(|| fresh.conv("conv_shortcut", input, output, 1)),
        }
    }

    /// # Shapes
    /// - `x`: `[rows, input, height, width]`
    /// - `time`: `[1, embedding]`
    /// - output: `[rows, output, height, width]`
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>) -> Tensor<4> {
        let h = self.conv1.forward(self.norm1.silu(x.clone()));
        let h = match (&self.time_emb_proj, time) {
            (Some(proj), Some(time)) => {
                let shift = proj.forward(time.clone());
                let channels = shift.dims()[1];
                h + shift.reshape([1, channels, 1, 1])
            }
            _ => h,
        };
        let h = self.conv2.forward(self.norm2.silu(h));
        match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        }
    }
}

/// A level of the way down.
#[derive(Module, Debug)]
pub struct DownBlock {
    /// Residual blocks.
    pub resnets: Vec<ResnetBlock>,
    /// A transformer behind each, or none at all.
    pub attentions: Vec<Transformer2d>,
    /// To half the size; none at the last level.
    pub downsamplers: Vec<Downsample>,
}

/// A level of the way up: every residual block also gets what the way down left at its height.
#[derive(Module, Debug)]
pub struct UpBlock {
    /// Residual blocks.
    pub resnets: Vec<ResnetBlock>,
    /// A transformer behind each, or none at all.
    pub attentions: Vec<Transformer2d>,
    /// To twice the size; none at the last level.
    pub upsamplers: Vec<Upsample>,
}

/// The turning point.
#[derive(Module, Debug)]
pub struct MidBlock {
    /// Two residual blocks.
    pub resnets: Vec<ResnetBlock>,
    /// The transformer between them.
    pub attentions: Vec<Transformer2d>,
}

/// The shape of a level.
#[derive(Debug, Clone, Copy)]
pub(super) struct LevelShape {
    pub(super) layers: usize,
    pub(super) time: usize,
    pub(super) groups: usize,
    pub(super) epsilon: f64,
    /// Heads and the description's width, where there are transformers.
    pub(super) attention: Option<(usize, usize)>,
}

impl LevelShape {
    fn resnet(&self, fresh: Fresh<'_>, index: usize, input: usize, output: usize) -> ResnetBlock {
        let shape = ResnetShape {
            input,
            output,
            time: Some(self.time),
            groups: self.groups,
            epsilon: self.epsilon,
        };
        ResnetBlock::fresh(fresh.nth("resnets", index), shape)
    }

    fn transformers(&self, fresh: Fresh<'_>, count: usize, channels: usize) -> Vec<Transformer2d> {
        let Some((heads, context)) = self.attention else {
            return vec![];
        };
        let shape = TransformerShape {
            channels,
            heads,
            context,
            groups: self.groups,
        };
        let transformer = |index| Transformer2d::fresh(fresh.nth("attentions", index), shape);
        (0..count).map(transformer).collect()
    }
}

impl DownBlock {
    pub(super) fn fresh(
        fresh: Fresh<'_>,
        level: LevelShape,
        input: usize,
        output: usize,
        is_last: bool,
    ) -> Self {
        let resnet = |index| level.resnet(fresh, index, if index == 0 { input } else { output }, output);
        Self {
            resnets: (0..level.layers).map(resnet).collect(),
            attentions: level.transformers(fresh, level.layers, output),
            downsamplers: match is_last {
                true => vec![],
                false => vec![Downsample::fresh(fresh.nth("downsamplers", 0), output, false)],
            },
        }
    }

    /// Goes down a level and leaves what it passes on `skips`.
    pub(super) fn forward(
        &self,
        mut x: Tensor<4>,
        condition: &Condition,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (index, resnet) in self.resnets.iter().enumerate() {
            x = layer(resnet, self.attentions.get(index), x, condition);
            skips.push(x.clone());
        }
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x);
            skips.push(x.clone());
        }
        x
    }
}

impl UpBlock {
    /// `inputs` are the channels of each residual block's input, those of the skip connection included.
    pub(super) fn fresh(
        fresh: Fresh<'_>,
        level: LevelShape,
        inputs: &[usize],
        output: usize,
        is_last: bool,
    ) -> Self {
        let resnet = |(index, &input)| level.resnet(fresh, index, input, output);
        Self {
            resnets: inputs.iter().enumerate().map(resnet).collect(),
            attentions: level.transformers(fresh, inputs.len(), output),
            upsamplers: match is_last {
                true => vec![],
                false => vec![Upsample::fresh(fresh.nth("upsamplers", 0), output)],
            },
        }
    }

    /// Goes up a level, taking from `skips` what the way down left there.
    pub(super) fn forward(
        &self,
        mut x: Tensor<4>,
        condition: &Condition,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (index, resnet) in self.resnets.iter().enumerate() {
            let joined = skips.pop().map_or_else(Vec::new, |skip| vec![skip]);
            x = Tensor::cat([vec![x], joined].concat(), 1);
            x = layer(resnet, self.attentions.get(index), x, condition);
        }
        for upsampler in &self.upsamplers {
            let [_, _, height, width] = x.dims();
            let size = skips
                .last()
                .map_or([2 * height, 2 * width], |skip| [skip.dims()[2], skip.dims()[3]]);
            x = upsampler.forward_to(x, size);
        }
        x
    }
}

impl MidBlock {
    pub(super) fn fresh(fresh: Fresh<'_>, level: LevelShape, channels: usize) -> Self {
        Self {
            resnets: (0..2)
                .map(|index| level.resnet(fresh, index, channels, channels))
                .collect(),
            attentions: level.transformers(fresh, 1, channels),
        }
    }

    pub(super) fn forward(&self, mut x: Tensor<4>, condition: &Condition) -> Tensor<4> {
        for (index, resnet) in self.resnets.iter().enumerate() {
            x = layer(resnet, self.attentions.get(index), x, condition);
        }
        x
    }
}

/// A residual block and the transformer behind it, where there is one.
fn layer(
    resnet: &ResnetBlock,
    transformer: Option<&Transformer2d>,
    x: Tensor<4>,
    condition: &Condition,
) -> Tensor<4> {
    let x = resnet.forward(x, Some(&condition.time));
    match transformer {
        Some(transformer) => transformer.forward(x, &condition.context, condition.slice),
        None => x,
    }
}

/// SiLU of the embedding of time, which every residual block would apply again.
pub(super) fn activated(time: Tensor<2>) -> Tensor<2> {
    activation::silu(time)
}

//! From noise to latents: the steps of a schedule, under guidance.

use burn::tensor::{DType, Device, Tensor};

use crate::diffusion::attention::SliceBytes;
use crate::diffusion::controlnet::ControlNet;
use crate::diffusion::cpu;
use crate::diffusion::noise::NoiseStream;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::unet::Unet;

/// What one picture begins with.
pub(super) struct Begun {
    /// Its place among those that are wanted.
    pub(super) index: usize,
    /// Its description beside what is not wanted.
    pub(super) context: Tensor<3>,
    pub(super) stream: NoiseStream,
    /// The product's latents.
    pub(super) product: Tensor<4>,
    pub(super) noise: Tensor<4>,
}

/// The networks and how they are used, with what all pictures of a canvas share.
pub(super) struct Denoising<'a> {
    pub(super) unet: &'a Unet,
    pub(super) controlnet: &'a ControlNet,
    pub(super) schedule: &'a Schedule,
    pub(super) guidance: Guidance,
    pub(super) control_scale: f64,
    pub(super) slice: SliceBytes,
    pub(super) device: &'a Device,
    /// The edges as the ControlNet adds them.
    pub(super) control: Tensor<4>,
    /// 1 where the background goes.
    pub(super) repaint: Tensor<4>,
}

impl Denoising<'_> {
    /// The latents of pictures whose descriptions are equally long.
    ///
    /// # Shapes
    /// `[pictures, 4, height, width]`
    pub(super) fn run(&self, mut begun: Vec<Begun>, stepped: &mut dyn FnMut()) -> Tensor<4> {
        let all = |of: &dyn Fn(&Begun) -> Tensor<4>| Tensor::cat(begun.iter().map(of).collect(), 0);
        let (product, noise) = (
            all(&|begun| begun.product.clone()),
            all(&|begun| begun.noise.clone()),
        );
        let context = self.guidance.context(&begun);
        let keep = self.repaint.clone().neg() + 1.0;
        let mut latents = noise.clone() * self.schedule.initial;
        let mut before = None;
        for step in &self.schedule.steps {
            let input = self.guidance.both(latents.clone() * step.input);
            let output = self.output(input, step.timestep, context.clone());
            let fresh = step.draws_noise().then(|| {
                let shape = begun[0].noise.dims();
                let drawn = begun
                    .iter_mut()
                    .map(|begun| begun.stream.normal(shape, self.device));
                Tensor::cat(drawn.collect(), 0)
            });
            let (next, estimate) = step.apply(latents, self.guidance.guided(output), before.take(), fresh);
            let reference = step.behind.of(product.clone(), noise.clone());
            latents = reference * keep.clone() + next * self.repaint.clone();
            before = Some(estimate);
            stepped();
        }
        latents
    }

    /// What the U-net tells of each row under the ControlNet, in f32. On a CPU each row is a pass of its own.
    ///
    /// # Shapes
    /// - `input`: `[rows, 4, height, width]`
    /// - `context`: `[rows, tokens, width]`
    fn output(&self, input: Tensor<4>, timestep: f64, context: Tensor<3>) -> Tensor<4> {
        if !cpu::is_it(self.device) {
            return self.pass(input, timestep, context);
        }
        let row = |row: usize| {
            let (input, context) = (input.clone().narrow(0, row, 1), context.clone().narrow(0, row, 1));
            self.pass(input, timestep, context)
        };
        Tensor::cat(cpu::map((0..input.dims()[0]).collect(), self.device, row), 0)
    }

    fn pass(&self, input: Tensor<4>, timestep: f64, context: Tensor<3>) -> Tensor<4> {
        let (controlnet, unet, slice) = (self.controlnet, self.unet, self.slice);
        let dtype = unet.dtype();
        let (input, context) = (input.cast(dtype), context.cast(dtype));
        let control = self.control.clone();
        let residuals = controlnet.forward(
            input.clone(),
            timestep,
            context.clone(),
            control,
            self.control_scale,
            slice,
        );
        unet.forward(input, timestep, context, Some(residuals), slice)
            .cast(DType::F32)
    }
}

/// Classifier-free guidance ([arXiv 2207.12598](https://arxiv.org/abs/2207.12598)): without the description and with it, side
/// by side in one pass.
#[derive(Clone, Copy)]
pub(super) struct Guidance(pub(super) f64);

impl Guidance {
    fn is_on(self) -> bool {
        self.0 > 1.0
    }

    /// The contexts as rows of one pass: first all without the description, then all with it.
    fn context(self, begun: &[Begun]) -> Tensor<3> {
        let rows = |row: usize| {
            begun
                .iter()
                .map(move |begun| begun.context.clone().narrow(0, row, 1))
        };
        match self.is_on() {
            true => Tensor::cat(rows(0).chain(rows(1)).collect(), 0),
            false => Tensor::cat(rows(1).collect(), 0),
        }
    }

    fn both(self, latents: Tensor<4>) -> Tensor<4> {
        match self.is_on() {
            true => Tensor::cat(vec![latents.clone(), latents], 0),
            false => latents,
        }
    }

    fn guided(self, output: Tensor<4>) -> Tensor<4> {
        if !self.is_on() {
            return output;
        }
        let rows = output.dims()[0] / 2;
        let without = output.clone().narrow(0, 0, rows);
        let with = output.narrow(0, rows, rows);
        without.clone() + (with - without) * self.0
    }
}

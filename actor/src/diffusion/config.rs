//! What the image generator can be told: the `[diffusion]` table.

use crate::config::given;
use common::{DecidingSettings, InvalidConfig, SettingsCheck, stated};
use imaging::Region;
use models::diffusion::attention::SliceBytes;
use models::diffusion::pipeline::PipelineConfig;
use models::diffusion::prompt::{LongPrompts, PromptStyle};
use models::diffusion::schedule::Sampler;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest text that is stated as it is, in bytes; of a longer one its digest is.
const MAX_STATED_BYTES: usize = 1 << 10;

/// How products are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// Colours are averaged weighted by alpha, the product's box has all its rows and columns, and the background under soft edges is
    /// held within the colours around it: no halo.
    Premultiplied,
    /// To the pixel as CAIG's reference does it, hidden colours and lost rows included.
    Compat,
}

/// How pictures are painted around products.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionConfig {
    /// Stable Diffusion as diffusers lays it out: a directory, its URL, or one `.safetensors` or `.ckpt` file with `tokenizer/` beside
    /// it. Default empty: none.
    pub model: String,
    /// A ControlNet for edges, of the same U-net: a directory, its URL, or one `.safetensors`, `.pth` or `.ckpt` file. Default empty:
    /// none.
    pub controlnet: String,
    /// An adapter of the model in diffusers' or kohya's naming: a `.safetensors` file, or the URL of a directory that has one. Default
    /// empty: none.
    pub lora: String,
    /// How often the adapter is added, 0 to 16. Default 1.
    pub lora_scale: f64,
    /// Width of pictures in pixels, a multiple of 8 from 64 to 4096. Default 512, what Stable Diffusion 1.5 was trained on.
    pub width: usize,
    /// Height of pictures, likewise.
    pub height: usize,
    /// The share of either side that a product takes at most, 0.05 to 1. Default 0.78, as CAIG.
    pub image_scale: f64,
    /// The box of the canvas that products are placed in, as large as fits: left, top, width and height in pixels. Default empty: the
    /// middle, by `image_scale`.
    #[serde(rename = "box")]
    pub region: Vec<u32>,
    /// How products are placed: `premultiplied` or `compat`. Default `premultiplied`.
    pub placing: Placing,
    /// The sampler: `euler-a`, `euler`, `ddim` or `dpmpp-2m`. Default `euler-a`, as CAIG.
    pub sampler: Sampler,
    /// Its steps, 1 to 999. Default 30, as CAIG.
    pub steps: usize,
    /// How strongly descriptions are followed, 0 to 100; at most 1 is no guidance. Default 7.5, as CAIG.
    pub guidance: f64,
    /// How strongly the product's edges are followed, 0 to 10. Default 1, as CAIG; diffusers' is 0.5.
    pub control_scale: f64,
    /// What is not wanted. Default empty, as CAIG.
    pub negative_prompt: String,
    /// What becomes of descriptions beyond the text encoder's 75 tokens: `chunk` or `refuse`. Default `chunk`; diffusers cuts them.
    pub long_prompts: LongPrompts,
    /// Whether `(words:1.2)` and `[words]` in descriptions are emphasis. Default false.
    pub emphasis: bool,
    /// Candidates painted at once, 1 to 64. Default 1: the same bits whatever is painted beside. More are faster on a card that one
    /// picture does not fill.
    pub batch: usize,
    /// The most bytes of attention scores held at once, up to 2^40; 0 leaves it to the device: 1 MiB on a CPU, whose cache that
    /// fits, 1 GiB on a card. Default 0.
    pub attention_bytes: usize,
    /// Side of the autoencoder's tiles in pixels, a multiple of 64; 0 reads and paints pictures whole. Default 0. Smaller cards need
    /// tiles; 512 is diffusers'.
    pub tile: usize,
    /// Whether each network's memory is given back after its part of a picture; it is then read again for the next. Default false.
    pub release: bool,
}

impl Default for DiffusionConfig {
    fn default() -> Self {
        let PipelineConfig {
            sampler,
            steps,
            guidance,
            control_scale,
            negative_prompt,
            prompts,
            batch,
            slice: _,
            tile: _,
            release,
        } = PipelineConfig::default();
        Self {
            model: String::new(),
            controlnet: String::new(),
            lora: String::new(),
            lora_scale: 1.0,
            width: 512,
            height: 512,
            image_scale: imaging::placement::GOLDEN_SCALE,
            region: vec![],
            placing: Placing::Premultiplied,
            sampler,
            steps,
            guidance,
            control_scale,
            negative_prompt,
            long_prompts: prompts.long,
            emphasis: prompts.emphasis,
            batch,
            attention_bytes: 0,
            tile: 0,
            release,
        }
    }
}

impl DiffusionConfig {
    /// Checks every field but where its files lie.
    ///
    /// # Errors
    /// [`InvalidConfig`] with all mistakes at once.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        for (key, side) in [("width", self.width), ("height", self.height)] {
            let fits = (64..=4096).contains(&side) && side.is_multiple_of(8);
            check.require(fits, key, side, "a multiple of 8 from 64 to 4096 (pixels)");
        }
        check.within("lora_scale", self.lora_scale, 0.0..=16.0, "");
        check.within("image_scale", self.image_scale, 0.05..=1.0, "");
        if !self.region.is_empty() {
            let on_canvas = |side: usize, first: u32, length: u32| {
                length > 0 && u64::from(first) + u64::from(length) <= side as u64
            };
            let fits = matches!(self.region[..], [left, top, width, height]
                if on_canvas(self.width, left, width) && on_canvas(self.height, top, height));
            check.require(
                fits && self.placing == Placing::Premultiplied,
                "box",
                &self.region,
                "[left, top, width, height] of a part of the canvas, with placing = \"premultiplied\"",
            );
        }
        check.within("steps", self.steps, 1..=999, "");
        check.within("guidance", self.guidance, 0.0..=100.0, "");
        check.within("control_scale", self.control_scale, 0.0..=10.0, "");
        check.within("batch", self.batch, 1..=64, "");
        check.within("attention_bytes", self.attention_bytes, 0..=1 << 40, "bytes");
        let tile = self.tile.is_multiple_of(64) && self.tile <= 4096;
        check.require(
            tile,
            "tile",
            self.tile,
            "0 or a multiple of 64 up to 4096 (pixels)",
        );
        check.finish()
    }

    /// The settings of these that decide what is painted. `batch` and `tile` are among them, by which pictures differ in their last bits and
    /// more. Of what is read is stated whether it is given, where there may be none.
    pub fn deciding(&self) -> DecidingSettings {
        let Self {
            model: _,
            controlnet,
            lora,
            lora_scale,
            width,
            height,
            image_scale,
            region,
            placing,
            sampler,
            steps,
            guidance,
            control_scale,
            negative_prompt,
            long_prompts,
            emphasis,
            batch,
            tile,
            attention_bytes: _,
            release: _,
        } = self;
        let settings = [
            ("controlnet", given(controlnet)),
            ("lora", given(lora)),
            ("lora_scale", stated(lora_scale)),
            ("width", stated(width)),
            ("height", stated(height)),
            ("image_scale", stated(image_scale)),
            ("box", stated(region)),
            ("placing", stated(placing)),
            ("sampler", stated(sampler)),
            ("steps", stated(steps)),
            ("guidance", stated(guidance)),
            ("control_scale", stated(control_scale)),
            ("negative_prompt", short(negative_prompt)),
            ("long_prompts", stated(long_prompts)),
            ("emphasis", stated(emphasis)),
            ("batch", stated(batch)),
            ("tile", stated(tile)),
        ];
        DecidingSettings::of_table("diffusion", settings)
    }

    /// The part of the canvas that products are placed in, where one is given.
    pub(super) fn region(&self) -> Option<Region> {
        match self.region[..] {
            [left, top, width, height] => Some(Region {
                left,
                top,
                width,
                height,
            }),
            _ => None,
        }
    }

    pub(super) fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            sampler: self.sampler,
            steps: self.steps,
            guidance: self.guidance,
            control_scale: self.control_scale,
            negative_prompt: self.negative_prompt.clone(),
            prompts: PromptStyle {
                long: self.long_prompts,
                emphasis: self.emphasis,
            },
            batch: self.batch,
            slice: (self.attention_bytes > 0).then_some(SliceBytes(self.attention_bytes)),
            tile: (self.tile > 0).then_some(self.tile / 8),
            release: self.release,
        }
    }
}

/// A text, or its digest. What counts is how long it is as it is stated: some characters take six bytes there.
fn short(words: &str) -> String {
    let stated = stated(&words);
    match stated.len() {
        ..=MAX_STATED_BYTES => stated,
        _ => store::digest(words.as_bytes()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_every_mistake_is_told_at_once() {
        assert_eq!(DiffusionConfig::default().validate(), Ok(()));
        let config = DiffusionConfig {
            width: 500,
            height: 8192,
            image_scale: 0.0,
            steps: 0,
            guidance: f64::NAN,
            region: vec![0, 0, 8, 8193],
            tile: 100,
            batch: 0,
            ..DiffusionConfig::default()
        };
        let problems = config.validate().unwrap_err().problems;
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "width",
                "height",
                "image_scale",
                "box",
                "steps",
                "guidance",
                "batch",
                "tile"
            ]
        );
    }

    #[test]
    fn what_is_painted_is_stated_and_neither_where_things_lie_nor_how_much_memory_they_take() {
        let run = DiffusionConfig {
            model: "sd15".into(),
            negative_prompt: "text ".repeat(1000),
            ..DiffusionConfig::default()
        };
        let elsewhere = DiffusionConfig {
            model: "s3://models/sd15".into(),
            attention_bytes: 1 << 20,
            release: true,
            ..run.clone()
        };
        assert_eq!(elsewhere.deciding(), run.deciding());
        let other = DiffusionConfig {
            lora: "style.safetensors".into(),
            region: vec![0, 0, 64, 64],
            sampler: Sampler::Ddim,
            negative_prompt: format!("{}text", run.negative_prompt),
            tile: 256,
            ..run.clone()
        };
        let others = other.deciding().others_than(&run.deciding());
        let keys: Vec<_> = others.iter().map(|other| other.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "diffusion.box",
                "diffusion.lora",
                "diffusion.negative_prompt",
                "diffusion.sampler",
                "diffusion.tile"
            ]
        );
        let longest = DiffusionConfig {
            negative_prompt: "\u{1}".repeat(MAX_STATED_BYTES),
            ..run
        };
        for stated in [other, longest] {
            let values = std::collections::BTreeMap::from(stated.deciding());
            assert!(values.values().all(|value| value.len() <= MAX_STATED_BYTES));
        }
    }
}

//! A checkpoint with fresh weights. They are drawn one at a time and written before the next one: a shape of any size needs
//! the memory of one shard and of its file.

use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::Progress;
use super::beside::Description;
use super::described::{CONFIG, TOKENIZER};
use super::layout::Naming;
use super::ours::OURS;
use crate::ctr::CaigNetwork;
use crate::directory::{begin, write};
use crate::error::ModelError;
use crate::policy::Policy;
use crate::presets::Preset;
use crate::tokenizer::Tokenizer;
use crate::weights::shard_writer::ShardWriter;
use crate::weights::streaming::elements;
use crate::weights::{NamedTensors, Path as Name, swap_hf_layout};

/// The class that CAIG's code reads its reward model with.
const REWARD_CLASS: &str = "LlavaLlamaForClassNew";

/// Writes a checkpoint of a named shape with fresh weights in the layout that such checkpoints have, a function of preset,
/// tokenizer and `seed` but for rounding to `dtype`.
///
/// # Errors
/// [`ModelError::File`] with the file that could not be written.
pub fn init(
    preset: Preset,
    tokenizer: Tokenizer,
    seed: u64,
    dtype: DType,
    out: &Path,
    progress: Progress<'_>,
) -> Result<(), ModelError> {
    let policy = preset.policy(tokenizer, &Device::flex(), seed);
    match preset {
        Preset::Tiny => write_ours(policy, dtype, out, progress),
        Preset::Llava15 | Preset::Llava16 => write_hf(policy, dtype, out, progress),
        Preset::CaigReward => write_caig(policy, seed, dtype, out, progress),
    }
}

fn write_ours(policy: Policy, dtype: DType, out: &Path, progress: Progress<'_>) -> Result<(), ModelError> {
    begin(out, OURS)?;
    let model = write_weights(policy.model, Naming::FLAT.into(), dtype, out, progress)?;
    Policy { model, ..policy }.write_beside(out)
}

fn write_hf(policy: Policy, dtype: DType, out: &Path, progress: Progress<'_>) -> Result<(), ModelError> {
    begin(out, CONFIG)?;
    let model = write_weights(policy.model, Naming::FLAT.into(), dtype, out, progress)?;
    description(&Policy { model, ..policy }).write_hf(out)
}

fn write_caig(
    policy: Policy,
    seed: u64,
    dtype: DType,
    out: &Path,
    progress: Progress<'_>,
) -> Result<(), ModelError> {
    begin(out, CONFIG)?;
    let hidden = policy.config.text.hidden_size;
    let head = |name: &str| CaigNetwork::fresh_head(hidden, name, seed, &Device::flex());
    let mut network = CaigNetwork {
        body: policy.model,
        sku_ctr_linear_fc: vec![head("sku_ctr_linear_fc")],
    };
    network.body.language_model.lm_head = head("score");
    let network = write_weights(network, Naming::CAIG_REWARD.into(), dtype, out, progress)?;
    let policy = Policy {
        model: network.body,
        ..policy
    };
    write(&out.join(TOKENIZER), policy.tokenizer.to_json()?.as_bytes())?;
    description(&policy).write_original(out, REWARD_CLASS)
}

fn description(policy: &Policy) -> Description<'_> {
    Description {
        config: &policy.config,
        processor: &policy.processor,
        tokenizer: &policy.tokenizer,
    }
}

/// How weights are written.
pub(crate) struct Spelling<'a> {
    /// What the files call the weight of this name.
    pub(crate) theirs: Box<dyn Fn(&str) -> String + 'a>,
    /// What the files themselves are called.
    pub(crate) stem: &'a str,
    /// Which matrices the files hold as 1x1 convolutions, by our names.
    pub(crate) is_convolution: &'a dyn Fn(&str) -> bool,
}

impl From<Naming> for Spelling<'_> {
    fn from(naming: Naming) -> Self {
        Self {
            theirs: Box::new(move |ours| naming.theirs(ours)),
            stem: "model",
            is_convolution: &|_| false,
        }
    }
}

/// Draws and writes one weight after the other. Returns the network emptied of what was written. A second handle on the
/// network would keep every weight that was drawn.
pub(crate) fn write_weights<M: Module>(
    network: M,
    spelling: Spelling<'_>,
    dtype: DType,
    out: &Path,
    progress: Progress<'_>,
) -> Result<M, ModelError> {
    let mut writer = Writer {
        name: Name::default(),
        dtype,
        total: elements(&network),
        done: 0,
        shards: ShardWriter::named(out, spelling.stem),
        spelling,
        progress,
        failure: None,
    };
    let emptied = network.map(&mut writer);
    match writer.failure {
        None => writer.shards.finish().map(|()| emptied),
        Some(error) => Err(error),
    }
}

struct Writer<'a> {
    name: Name,
    spelling: Spelling<'a>,
    dtype: DType,
    total: u64,
    done: u64,
    shards: ShardWriter<'a>,
    progress: Progress<'a>,
    failure: Option<ModelError>,
}

impl Writer<'_> {
    fn write<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Result<(), ModelError> {
        let ours = self.name.name();
        let data = param.val().into_data();
        self.done += data.num_elements() as u64;
        let as_in_files = swap_hf_layout(NamedTensors::from([(
            ours.clone(),
            data.convert_dtype(self.dtype),
        )]))?;
        for data in as_in_files.into_values() {
            let data = match (D, (self.spelling.is_convolution)(&ours)) {
                (2, true) => {
                    let shape = [data.shape()[0], data.shape()[1], 1, 1];
                    let (bytes, _, dtype) = data.into_parts();
                    TensorData::from_bytes(bytes, shape, dtype)
                }
                _ => data,
            };
            self.shards.add((self.spelling.theirs)(&ours), data)?;
        }
        (self.progress)(self.done, self.total);
        Ok(())
    }
}

impl ModuleMapper for Writer<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.name.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.name.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failure.is_none() {
            self.failure = self.write(&param).err();
        }
        // What is written need not be held any longer.
        Param::initialized(param.id, Tensor::zeros([1; D], &Device::flex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctr::CaigReward;
    use crate::presets::tests::corpus;
    use crate::weights::collect;

    /// A policy of the preset in all but its widths and depths.
    fn small(preset: Preset) -> Policy {
        let tokenizer = preset.tokenizer(corpus().iter()).unwrap();
        let large = preset.policy(tokenizer.clone(), &Device::flex(), 7);
        let tiny = Preset::Tiny.policy(tokenizer, &Device::flex(), 7).config;
        let mut config = large.config.clone();
        config.text = crate::llama::LlamaConfig {
            vocab_size: large.config.text.vocab_size,
            ..tiny.text
        };
        config.vision = tiny.vision;
        let mut processor = large.processor;
        processor.size = config.vision.image_size;
        if let crate::processor::Fit::AnyRes(any_res) = &mut processor.fit {
            for side in any_res.shapes.iter_mut().flatten() {
                *side = *side / 336 * config.vision.image_size;
            }
        }
        Policy {
            model: config.init(&Device::flex(), 7),
            config,
            processor,
            ..large
        }
    }

    #[test]
    fn what_is_written_is_read_again_as_it_was_drawn() {
        type Write = fn(Policy, DType, &Path, Progress<'_>) -> Result<(), ModelError>;
        let ways: [(Preset, Write); 3] = [
            (Preset::Tiny, write_ours),
            (Preset::Llava15, write_hf),
            (Preset::Llava16, write_hf),
        ];
        for (preset, write) in ways {
            let (dir, drawn) = (tempfile::tempdir().unwrap(), small(preset));
            let mut last = (0, 0);
            write(drawn.clone(), DType::F32, dir.path(), &mut |done, all| {
                last = (done, all)
            })
            .unwrap();
            assert_eq!(
                last,
                (drawn.config.num_parameters(), drawn.config.num_parameters())
            );
            let read = Policy::load(dir.path(), &Device::flex()).unwrap();
            assert_eq!(read.config, drawn.config, "{preset:?}");
            assert_eq!(read.processor, drawn.processor);
            assert_eq!(read.template, drawn.template);
            assert_eq!(
                collect(&read.model, |_| true),
                collect(&drawn.model, |_| true),
                "{preset:?}"
            );
            let instruction = "warm light";
            assert_eq!(
                read.prompt_ids(instruction, true).unwrap(),
                drawn.prompt_ids(instruction, true).unwrap()
            );
        }
    }

    #[test]
    fn a_fresh_reward_model_is_one_of_caigs_in_half_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let drawn = small(Preset::CaigReward);
        write_caig(drawn.clone(), 7, DType::BF16, dir.path(), &mut |_, _| ()).unwrap();
        let read = CaigReward::load(dir.path(), &Device::flex(), DType::F32, &mut |_, _| ()).unwrap();
        assert_eq!(read.policy.config, drawn.config);
        let squares = [0, 255].map(|grey| image::RgbImage::from_pixel(64, 64, image::Rgb([grey; 3])));
        let compared = read
            .compare_squares(&[(&squares[0], &squares[1])], "which?")
            .unwrap();
        assert!(compared[0].logits.iter().all(|logit| logit.is_finite()));
        assert!(compared[0].ctr.is_some());
        let bytes = std::fs::metadata(dir.path().join("model.safetensors"))
            .unwrap()
            .len();
        assert!(bytes < 3 * drawn.config.num_parameters(), "{bytes}");
    }
}

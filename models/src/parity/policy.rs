//! The policy of every layout, with and without an adapter, compared layer after layer, so that a difference names the
//! layer.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::Deserialize;

use super::{TOLERANCE, fixtures, picture};
use crate::batch::{CompletionRow, TokenRows, collate};
use crate::checkpoint::merge;
use crate::directory::{read, read_json};
use crate::image_features::ImageFeatures;
use crate::peft::Adapter;
use crate::policy::Policy;
use crate::sampling::{Prompt, SamplingParams, sample_tokens};
use crate::weights::{NamedTensors, from_safetensors};

/// What stands for an image in the fixtures of the LLaVA repository.
const ORIGINAL_IMAGE: i64 = -200;

#[derive(Deserialize)]
struct Expected {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    image: Option<String>,
    prompt: String,
    completion: Option<String>,
    ids: Vec<i64>,
    image_tokens: Option<usize>,
    completion_ids: Option<Vec<u32>>,
    greedy_ids: Option<Vec<u32>>,
}

/// One checkpoint with what it must give.
struct Case {
    name: String,
    policy: Policy,
    inputs: Vec<Input>,
    numbers: NamedTensors,
    /// Largest error by stage, as a share of the stage's largest number.
    errors: BTreeMap<&'static str, f64>,
}

impl Case {
    fn load(name: &str) -> Self {
        let dir = fixtures().join(name);
        let policy = Policy::load_as(&dir, &Device::flex(), Some(DType::F32), &mut |_, _| ()).unwrap();
        Self::of(name, &dir, policy)
    }

    fn of(name: &str, dir: &Path, policy: Policy) -> Self {
        let expected: Expected = read_json(&dir.join("expected.json")).unwrap();
        Self {
            name: name.into(),
            policy,
            inputs: expected.inputs,
            numbers: from_safetensors(&read(&dir.join("expected.safetensors")).unwrap()).unwrap(),
            errors: BTreeMap::new(),
        }
    }

    /// Compares with the tensor of this name, of which the last rows of ours are expected; nothing where there is none.
    fn compare(&mut self, stage: &'static str, tensor: &str, ours: TensorData) {
        let Some(expected) = self.numbers.get(tensor) else {
            return;
        };
        let expected: Vec<f64> = expected.iter().collect();
        let ours: Vec<f64> = ours.iter().collect();
        let ours = &ours[ours.len() - expected.len()..];
        let scale = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let error = ours
            .iter()
            .zip(&expected)
            .fold(0.0f64, |most, (ours, expected)| most.max((ours - expected).abs()));
        let share = error / scale;
        assert!(share < TOLERANCE, "{} {tensor}: {error:e} of {scale}", self.name);
        let worst = self.errors.entry(stage).or_default();
        *worst = worst.max(share);
    }

    fn run(mut self) -> BTreeMap<&'static str, f64> {
        let inputs = std::mem::take(&mut self.inputs);
        for input in &inputs {
            self.words(input);
            let features = input.image.as_ref().map(|image| self.picture(&input.name, image));
            self.layers(input, features.as_ref());
            self.greedy(input, features.as_ref());
        }
        self.log_probs(&inputs);
        self.errors
    }

    fn ids(&self, input: &Input) -> Vec<u32> {
        let image = self.policy.tokenizer.image_id();
        let id = |&id: &i64| if id == ORIGINAL_IMAGE { image } else { id as u32 };
        input.ids.iter().map(id).collect()
    }

    fn words(&self, input: &Input) {
        let (name, expected) = (&input.name, self.ids(input));
        assert_eq!(
            self.policy.raw_prompt_ids(&input.prompt).unwrap(),
            expected,
            "{} {name}",
            self.name
        );
        if let (Some(text), Some(expected)) = (&input.completion, &input.completion_ids) {
            assert_eq!(
                &self.policy.completion_ids(text).unwrap(),
                expected,
                "{} {name}",
                self.name
            );
        }
        if let (Some(image), Some(expected)) = (&input.image, input.image_tokens) {
            let (width, height) = picture(image).dimensions();
            assert_eq!(
                self.policy.image_tokens(width, height),
                expected,
                "{} {name}",
                self.name
            );
        }
    }

    fn picture(&mut self, input: &str, image: &str) -> ImageFeatures {
        let picture = picture(image);
        let tiles = self.policy.processor.process(&picture).values;
        let (count, plane) = (tiles.len(), self.policy.processor.size.pow(2));
        let (mean, std) = (self.policy.processor.mean, self.policy.processor.std);
        let byte = |(i, value): (usize, &f32)| {
            let channel = i / plane % 3;
            ((value * std[channel] + mean[channel]) * 255.0).round()
        };
        let bytes: Vec<f32> = tiles.iter().enumerate().map(byte).collect();
        self.compare(
            "pixels",
            &format!("{input}.pixel_u8"),
            TensorData::new(bytes, [count]),
        );
        self.compare(
            "pixels",
            &format!("{input}.pixel_values"),
            TensorData::new(tiles, [count]),
        );
        let features = self.policy.image_features(&[&picture]).unwrap();
        self.compare(
            "features",
            &format!("{input}.features"),
            features.tokens().into_data(),
        );
        features
    }

    fn layers(&mut self, input: &Input, features: Option<&ImageFeatures>) {
        let (ids, model) = (self.ids(input), self.policy.model.clone());
        let lengths = features.map_or(&[][..], ImageFeatures::lengths);
        let image = features.map(|_| 0);
        let limits = self.policy.config.row_limits();
        let tokens = TokenRows::of_prompts(&[(&ids, image)], lengths, &limits).unwrap();
        let positions = model.positions(&tokens);
        let mut x: Tensor<3> = model.embed(&tokens, features);
        let language_model = &model.language_model;
        self.compare("embeddings", &format!("{}.hidden.0", input.name), x.to_data());
        for (index, layer) in language_model.model.layers.iter().enumerate() {
            x = layer.forward(x, &positions, 0, None);
            self.compare(
                "layers",
                &format!("{}.hidden.{}", input.name, index + 1),
                x.to_data(),
            );
        }
        let normed = language_model.model.norm.forward(x.clone());
        self.compare("last norm", &format!("{}.norm", input.name), normed.into_data());
        self.compare(
            "logits",
            &format!("{}.logits", input.name),
            language_model.logits(x).into_data(),
        );
    }

    /// Cached decoding.
    fn greedy(&self, input: &Input, features: Option<&ImageFeatures>) {
        let Some(expected) = &input.greedy_ids else { return };
        let prompt = Prompt {
            ids: self.ids(input),
            image: features.map(|_| 0),
            seed: 0,
        };
        let (params, no_end) = (SamplingParams::greedy(expected.len()), u32::MAX);
        let limits = self.policy.config.row_limits();
        let drawn = sample_tokens(
            &self.policy.model,
            &[prompt],
            features,
            &params,
            no_end,
            &limits,
            &mut || (),
        )
        .unwrap();
        assert_eq!(&drawn[0].token_ids, expected, "{} {}", self.name, input.name);
    }

    /// All inputs in one left-padded batch: prompts of every length, pictures of every shape.
    fn log_probs(&mut self, inputs: &[Input]) {
        let inputs: Vec<_> = inputs
            .iter()
            .filter(|input| input.completion_ids.is_some())
            .collect();
        let ids: Vec<_> = inputs.iter().map(|input| self.ids(input)).collect();
        if inputs.is_empty() {
            return;
        }
        let pictures: Vec<_> = inputs
            .iter()
            .filter_map(|input| input.image.as_deref())
            .map(picture)
            .collect();
        let features = self
            .policy
            .image_features(&pictures.iter().collect::<Vec<_>>())
            .unwrap();
        let mut seen = 0;
        let rows: Vec<_> = inputs
            .iter()
            .zip(&ids)
            .map(|(input, ids)| CompletionRow {
                prompt_ids: ids,
                image: input.image.as_ref().map(|_| {
                    seen += 1;
                    seen - 1
                }),
                completion_ids: input.completion_ids.as_ref().unwrap(),
            })
            .collect();
        let batch = collate(&rows, features.lengths(), &self.policy.config.row_limits()).unwrap();
        let scored = self.policy.model.completion_log_probs(&batch, Some(&features));
        for (row, input) in inputs.iter().enumerate() {
            let length = input.completion_ids.as_ref().unwrap().len();
            let ours = scored.token_log_probs.clone().slice([row..row + 1, 0..length]);
            self.compare(
                "log-probs, one batch",
                &format!("{}.logprobs", input.name),
                ours.into_data(),
            );
        }
    }
}

fn table(rows: &[(String, BTreeMap<&'static str, f64>)]) {
    const STAGES: [&str; 7] = [
        "pixels",
        "features",
        "embeddings",
        "layers",
        "last norm",
        "logits",
        "log-probs, one batch",
    ];
    println!("| checkpoint | {} |", STAGES.join(" | "));
    println!("|---|{}", "---|".repeat(STAGES.len()));
    for (name, errors) in rows {
        let cells = STAGES.map(|stage| {
            errors
                .get(stage)
                .map_or("".into(), |error| format!("{error:.0e}"))
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}

#[test]
fn parity_with_transformers_in_every_layout() {
    let layouts = ["llava-hf-1.5", "llava-hf-1.6", "llava-original"];
    let names = layouts
        .iter()
        .flat_map(|layout| (1..=3).map(move |seed| format!("{layout}/{seed}")));
    let rows: Vec<_> = names
        .map(|name| (name.clone(), Case::load(&name).run()))
        .collect();
    assert!(rows.iter().all(|(_, errors)| errors.len() >= 6));
    table(&rows);
}

/// Adapters that PEFT wrote, attached and folded in.
#[test]
fn parity_with_peft_attached_and_merged() {
    let mut rows = vec![];
    for seed in 1..=3 {
        let (name, base) = (
            format!("peft/{seed}"),
            fixtures().join(format!("llava-hf-1.5/{seed}")),
        );
        let dir = fixtures().join(&name);
        let load = |dir: &Path| Policy::load(dir, &Device::flex()).unwrap();
        let mut attached = load(&base);
        let adapter = Adapter::load(&dir).unwrap();
        attached.model = adapter.attach(attached.model).unwrap();
        rows.push((name.clone(), Case::of(&name, &dir, attached).run()));
        let merged = tempfile::tempdir().unwrap();
        merge(&base, adapter, merged.path()).unwrap();
        // In bf16 and f16 the sum is rounded, which is why only the first has the tolerance of f32.
        if seed == 1 {
            let name = format!("{name}, merged");
            rows.push((name.clone(), Case::of(&name, &dir, load(merged.path())).run()));
        }
    }
    table(&rows);
}

/// PEFT writes the base's head beside an adapter of it, which is not taken for the base's where it is another.
#[test]
fn an_adapter_with_another_bases_head_is_refused() {
    let base = fixtures().join("llava-hf-1.5/2");
    let mut adapter = Adapter::load(&fixtures().join("peft/2")).unwrap();
    let copy = adapter.copies.values_mut().next().unwrap();
    *copy = TensorData::zeros::<f32, _>(copy.shape().clone());
    let model = Policy::load(&base, &Device::flex()).unwrap().model;
    let out = tempfile::tempdir().unwrap();
    for refusal in [
        adapter.attach(model).map(drop).unwrap_err(),
        merge(&base, adapter.clone(), out.path()).unwrap_err(),
    ] {
        assert!(std::fs::read_dir(out.path()).unwrap().next().is_none());
        let text = refusal.to_string();
        assert!(
            text.contains("another base: base_model.model.lm_head.base_layer.weight"),
            "{text}"
        );
    }
}

/// The tests above could compare nothing with nothing.
#[test]
fn parity_is_lost_with_a_wrong_weight() {
    let name = "llava-hf-1.5/2";
    let mut case = Case::load(name);
    let norm = case.policy.model.language_model.model.layers[1]
        .input_layernorm
        .clone();
    let scaled = norm.weight.map(|weight| weight * 1.01);
    case.policy.model.language_model.model.layers[1]
        .input_layernorm
        .weight = scaled;
    let failure = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.run())).unwrap_err();
    let message = failure.downcast::<String>().unwrap();
    assert!(message.contains("hidden.2"), "{message}");
}

//! Tokenizer and text encoder.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use safetensors::{SafeTensors, serialize};
use serde::Deserialize;

use super::{Expected, fixtures, tiny};
use crate::attention::causal_bias;
use crate::diffusion::lora::DiffusionLora;
use crate::diffusion::part::Part;
use crate::diffusion::pipeline::Texts;
use crate::diffusion::prompt::{LongPrompts, PromptStyle, chunks};
use crate::diffusion::text_encoder::TextEncoder;
use crate::directory::{read, read_json};

#[derive(Deserialize)]
struct Prompts {
    prompts: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    text: String,
    ids: Vec<u32>,
    padded: Vec<u32>,
}

fn prompts() -> Vec<Row> {
    let file: Prompts = read_json(&fixtures().join("expected/text.json")).unwrap();
    file.prompts
}

/// The text without its first and last token; a special token's spelling is text here, and a token there.
fn is_spelled_out(row: &Row) -> bool {
    row.text.contains("<|")
}

#[test]
fn descriptions_become_the_same_tokens() {
    let tokenizer = tiny().tokenizer;
    for row in prompts().iter().filter(|row| !is_spelled_out(row)) {
        let ids = tokenizer.encode(&row.text).unwrap();
        assert_eq!(ids, row.ids[1..row.ids.len() - 1], "{}", row.name);
        let chunks = chunks(&row.text, PromptStyle::default(), &tokenizer, 77).unwrap();
        if row.ids.len() <= 77 {
            assert_eq!(chunks.len(), 1, "{}", row.name);
            assert_eq!(chunks[0].ids, row.padded, "{}", row.name);
        }
    }
}

#[test]
fn nothing_of_a_long_description_is_lost() {
    let tokenizer = tiny().tokenizer;
    let long = prompts().into_iter().find(|row| row.name == "long").unwrap();
    let read = chunks(&long.text, PromptStyle::default(), &tokenizer, 77).unwrap();
    assert!(read.len() > 1);
    let text: Vec<u32> = read
        .iter()
        .flat_map(|chunk| chunk.ids[1..76].to_vec())
        .filter(|&id| id != tokenizer.end_id())
        .collect();
    assert_eq!(text, long.ids[1..long.ids.len() - 1]);
    let refusing = PromptStyle {
        long: LongPrompts::Refuse,
        ..PromptStyle::default()
    };
    let refused = chunks(&long.text, refusing, &tokenizer, 77)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("expected at most 75"), "{refused}");
}

#[test]
fn a_special_token_inside_a_description_is_spelled_out() {
    let tokenizer = tiny().tokenizer;
    let ids = tokenizer.encode("a <|endoftext|> b <|startoftext|>").unwrap();
    assert!(!ids.contains(&tokenizer.end_id()));
    assert!(!ids.contains(&tokenizer.begin_id()));
}

#[test]
fn the_encoder_gives_the_same_tokens_layer_by_layer() {
    let (device, expected) = (Device::flex(), Expected::of("text"));
    let encoder = tiny().read_text_encoder(&device, DType::F32, None).unwrap();
    for row in prompts() {
        let last = encoder.forward(std::slice::from_ref(&row.padded), &device);
        expected.compare(&format!("{}.last", row.name), last.into_data());
        if expected.holds(&format!("{}.hidden.0", row.name)) {
            for (index, state) in hidden_states(&encoder, &row.padded).into_iter().enumerate() {
                expected.compare(&format!("{}.hidden.{index}", row.name), state.into_data());
            }
        }
    }
    expected.report("text encoder, layer by layer");
}

#[derive(Deserialize)]
struct Emphasised {
    prompts: Vec<EmphasisedRow>,
}

#[derive(Deserialize)]
struct EmphasisedRow {
    name: String,
    text: String,
    chunks: usize,
}

fn emphasised() -> Vec<EmphasisedRow> {
    let file: Emphasised = read_json(&fixtures().join("expected/emphasis.json")).unwrap();
    file.prompts
}

/// A description as the U-net attends to it.
fn embedded(text: &str, emphasis: bool) -> Tensor<3> {
    let style = PromptStyle {
        emphasis,
        ..PromptStyle::default()
    };
    let mut texts = Texts::new(tiny().tokenizer, 77, style);
    let read = || tiny().read_text_encoder(&Device::flex(), DType::F32, None);
    let read = texts.embed(&[text], &mut Part::new(read, true), &Device::flex());
    read.unwrap().remove(0).unwrap()
}

#[test]
fn emphasis_multiplies_tokens_and_keeps_the_mean_of_each_chunk() {
    let expected = Expected::of("emphasis");
    let rows = emphasised();
    assert_eq!(rows.iter().map(|row| row.chunks).collect::<Vec<_>>(), [1, 2]);
    for row in rows {
        let weighted = embedded(&row.text, true);
        assert_eq!(weighted.dims()[1], 77 * row.chunks, "{}", row.name);
        expected.compare(&format!("{}.weighted", row.name), weighted.into_data());
    }
}

#[test]
fn brackets_are_text_where_emphasis_is_not_asked_for() {
    let row = emphasised().remove(0);
    assert_eq!(row.name, "nested");
    let expected = Expected::of("emphasis");
    expected.compare("nested.as_text", embedded(&row.text, false).into_data());
}

#[test]
fn a_pickle_and_a_16_bit_file_under_bare_names_are_the_same_encoder() {
    let (device, expected) = (Device::flex(), Expected::of("text"));
    let row = prompts().into_iter().find(|row| row.name == "short").unwrap();
    for dir in ["text-encoder-bin", "text-encoder-f16"] {
        let config = &tiny().text_encoder;
        let encoder =
            crate::diffusion::checkpoint::read_text_encoder_of(&fixtures().join(dir), config).unwrap();
        let last = encoder.forward(std::slice::from_ref(&row.padded), &device);
        expected.compare("short.last", last.into_data());
    }
}

/// The adapter's file as transformers 5 names what it makes, without the encoder's outermost level.
fn without_level(file: &Path) -> Vec<u8> {
    let bytes = read(file).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bare = tensors
        .iter()
        .map(|(name, view)| (name.replace(".text_model.", "."), view));
    serialize(bare.collect::<Vec<_>>(), metadata.metadata().clone()).unwrap()
}

#[test]
fn an_adapter_of_the_text_encoder_in_every_spelling() {
    let (device, expected) = (Device::flex(), Expected::of("lora-text"));
    let row = prompts().into_iter().find(|row| row.name == "mixed").unwrap();
    let [peft, kohya] = ["text_encoder", "text_encoder_kohya"]
        .map(|file| fixtures().join(format!("lora/{file}.safetensors")));
    let dir = tempfile::tempdir().unwrap();
    let bare = dir.path().join("bare.safetensors");
    fs::write(&bare, without_level(&peft)).unwrap();
    for file in [peft, kohya, bare] {
        for (scale, name) in [(1.0, "mixed.scale.1.0"), (0.5, "mixed.scale.0.5")] {
            let lora = DiffusionLora::read(&file, scale).unwrap();
            tiny().check_lora(&lora).unwrap();
            let encoder = tiny().read_text_encoder(&device, DType::F32, Some(&lora));
            let last = encoder
                .unwrap()
                .forward(std::slice::from_ref(&row.padded), &device);
            expected.compare(name, last.into_data());
        }
    }
    expected.report("LoRA of the text encoder, both spellings");
}

fn hidden_states(encoder: &TextEncoder, ids: &[u32]) -> Vec<Tensor<3>> {
    let (device, model) = (Device::flex(), &encoder.text_model);
    let mut states = vec![model.embeddings.forward(&[ids.to_vec()], &device)];
    let bias = causal_bias(&[0], ids.len(), &device);
    for layer in &model.encoder.layers {
        let before = states[states.len() - 1].clone();
        states.push(model.through(layer, before, &bias));
    }
    states
}

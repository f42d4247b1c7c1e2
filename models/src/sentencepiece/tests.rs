//! Against transformers' ids in `fixtures/sentencepiece`, and with models that differ from those.

mod damage;
mod faults;

use prost::Message;
use serde_json::Value;

use super::format::{BYTE, CONTROL, Model, Piece, UNKNOWN};
use super::*;

/// Model and transformers' view of it: see `generate.py` beside them.
macro_rules! fixture {
    ($name:literal) => {
        (
            include_bytes!(concat!("../../fixtures/sentencepiece/", $name, ".model")).as_slice(),
            include_str!(concat!("../../fixtures/sentencepiece/", $name, ".json")),
        )
    };
}

const SMALL: (&[u8], &str) = fixture!("small");
const ADDED: (&[u8], &str) = fixture!("added");
const FIXTURES: [(&[u8], &str); 3] = [SMALL, fixture!("large"), ADDED];

fn read(bytes: &[u8]) -> SentencePiece {
    SentencePiece::from_bytes(bytes).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, false).unwrap().get_ids().to_vec()
}

fn ids_of(row: &Value, key: &str) -> Vec<u32> {
    serde_json::from_value(row[key].clone()).unwrap()
}

fn rows(json: &str) -> Vec<Value> {
    let fixture: Value = serde_json::from_str(json).unwrap();
    let rows = fixture["rows"].as_array().unwrap().clone();
    assert!(rows.len() >= 200);
    rows
}

fn small() -> Model {
    Model::decode(SMALL.0).unwrap()
}

fn piece(text: &str, kind: i32) -> Piece {
    Piece {
        piece: Some(text.into()),
        score: Some(0.0),
        kind: Some(kind),
    }
}

#[test]
fn texts_get_the_ids_that_transformers_gives_them() {
    for (model, json) in FIXTURES {
        let tokenizer = read(model).tokenizer;
        for row in rows(json) {
            let text = row["text"].as_str().unwrap();
            assert_eq!(ids(&tokenizer, text), ids_of(&row, "ids"), "{text:?}");
        }
    }
}

#[test]
fn ids_give_the_texts_that_transformers_gives_them() {
    for (model, json) in FIXTURES {
        let tokenizer = read(model).tokenizer;
        for row in rows(json) {
            let ids = ids_of(&row, "ids");
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), row["decoded"], "{row}");
            assert_eq!(
                tokenizer.decode(&ids, false).unwrap(),
                row["decoded_with_special"],
                "{row}"
            );
        }
    }
}

#[test]
fn special_tokens_that_are_to_be_spelled_out_are() {
    for (model, json) in FIXTURES {
        let special: Vec<u32> = (0..)
            .zip(&Model::decode(model).unwrap().pieces)
            .filter(|(_, piece)| matches!(piece.kind(), UNKNOWN | CONTROL))
            .map(|(id, _)| id)
            .collect();
        let mut tokenizer = read(model).tokenizer;
        tokenizer.set_encode_special_tokens(true);
        for row in rows(json) {
            let text = row["text"].as_str().unwrap();
            let ids = ids(&tokenizer, text);
            assert_eq!(ids, ids_of(&row, "spelled"), "{text:?}");
            assert!(ids.iter().all(|id| !special.contains(id)), "{text:?}: {ids:?}");
        }
    }
}

#[test]
fn merges_have_the_order_that_transformers_gives_them() {
    for (model, json) in FIXTURES {
        let fixture: Value = serde_json::from_str(json).unwrap();
        let merges: Vec<String> = merges(&Model::decode(model).unwrap().pieces)
            .unwrap()
            .into_iter()
            .map(|(left, right)| format!("{left} {right}"))
            .collect();
        assert_eq!(Value::from(merges), fixture["merges"]);
    }
}

#[test]
fn merges_of_equal_scores_have_the_order_that_transformers_gives_them() {
    let texts = [
        "a", "b", "é", "手", "ba", "ab", "bb", "aab", "éa", "手手", "aba", "手手a",
    ];
    let mut pieces = texts.map(|text| piece(text, 1)).to_vec();
    pieces.push(piece("bba", 1));
    for piece in &mut pieces[..12] {
        piece.score = Some(-1.0);
    }
    let merges: Vec<String> = merges(&pieces)
        .unwrap()
        .into_iter()
        .map(|(left, right)| left + " " + &right)
        .collect();
    // As `generate_merges` of transformers' convert_slow_tokenizer.py has them.
    assert_eq!(
        merges,
        [
            "bb a", "b ba", "ab a", "手手 a", "a ab", "a ba", "b a", "a b", "b b", "é a", "手 手"
        ]
    );
}

#[test]
fn a_tokenizer_comes_back_from_its_json() {
    let tokenizer = read(ADDED.0).tokenizer;
    let json = tokenizer.to_string(false).unwrap();
    let again = Tokenizer::from_bytes(json.as_bytes()).unwrap();
    assert_eq!(again.to_string(false).unwrap(), json);
    let text = "a <ctl> <image>\n\nwooden  desk ✨</s>";
    assert_eq!(ids(&again, text), ids(&tokenizer, text));
}

#[test]
fn special_pieces_are_those_that_the_model_names() {
    let model = read(SMALL.0);
    assert_eq!(model.unknown, "<unk>");
    assert_eq!(model.begin.as_deref(), Some("<s>"));
    assert_eq!(model.end.as_deref(), Some("</s>"));
    assert_eq!(model.pad, None);
    assert_eq!(read(ADDED.0).pad.as_deref(), Some("<pad>"));
}

#[test]
fn special_pieces_may_have_other_names_and_places() {
    let mut model = small();
    model.pieces[1] = piece("<begin>", CONTROL);
    model.trainer.bos_piece = Some("<begin>".into());
    model.trainer.eos_id = Some(-1);
    model.trainer.pad_piece = Some("</s>".into());
    model.trainer.pad_id = Some(2);
    let model = read(&model.encode_to_vec());
    assert_eq!(model.begin.as_deref(), Some("<begin>"));
    assert_eq!(model.end, None);
    assert_eq!(model.pad.as_deref(), Some("</s>"));
    assert_eq!(ids(&model.tokenizer, "<begin>"), [1]);
}

#[test]
fn user_defined_pieces_are_text_and_control_pieces_are_not() {
    let tokenizer = read(ADDED.0).tokenizer;
    let ids = ids(&tokenizer, "<ctl>a\n\nb</s>");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a\n\n b");
}

#[test]
fn no_text_becomes_a_control_piece_by_merges() {
    let mut model = small();
    for text in ["<s", "s>", "</", "/s", "/s>", "</s"] {
        if model.pieces.iter().all(|piece| piece.piece() != text) {
            model.pieces.push(piece(text, 1));
        }
    }
    let mut tokenizer = read(&model.encode_to_vec()).tokenizer;
    tokenizer.set_encode_special_tokens(true);
    for text in ["<s>", "</s>", "a<s>b", "<s></s>"] {
        let ids = ids(&tokenizer, text);
        assert!(ids.iter().all(|&id| id > 2), "{text}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
}

#[test]
fn without_byte_fallback_a_run_of_unknown_characters_is_one_unknown_token() {
    let mut model = small();
    model.trainer.byte_fallback = Some(false);
    model.pieces.retain(|piece| piece.kind() != BYTE);
    let tokenizer = read(&model.encode_to_vec()).tokenizer;
    let ids = ids(&tokenizer, "a✨✨✨a");
    assert_eq!(ids.iter().filter(|&&id| id == 0).count(), 1, "{ids:?}");
}

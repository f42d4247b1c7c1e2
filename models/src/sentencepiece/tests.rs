//! Against transformers' ids in `fixtures/sentencepiece`, against faulty models, and against random damage.

use prost::Message;
use serde_json::Value;

use super::format::{BYTE, CONTROL, Model, Piece, UNKNOWN, USER_DEFINED};
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

/// What is said of the small model after `change`.
fn refusal(change: impl FnOnce(&mut Model)) -> String {
    let mut model = small();
    change(&mut model);
    let error = SentencePiece::from_bytes(&model.encode_to_vec()).unwrap_err();
    error.to_string()
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

#[test]
fn faulty_pieces_are_named() {
    let with = |index: usize, change: fn(&mut Piece)| refusal(|model| change(&mut model.pieces[index]));
    let expected = [
        (
            with(300, |p| p.piece = None),
            "piece 300: 0 bytes long, expected from 1 to 256",
        ),
        (
            with(301, |p| p.piece = Some("a".repeat(257))),
            "piece 301: 257 bytes long, expected from 1 to 256",
        ),
        (
            with(302, |p| p.score = Some(f32::NAN)),
            "piece 302: score NaN, expected a finite number",
        ),
        (
            with(303, |p| p.score = Some(f32::INFINITY)),
            "piece 303: score inf, expected a finite number",
        ),
        (
            with(304, |p| p.kind = Some(7)),
            "piece 304: type 7, expected from 1 to 6",
        ),
        (
            with(305, |p| p.kind = Some(0)),
            "piece 305: type 0, expected from 1 to 6",
        ),
        (
            with(306, |p| p.kind = Some(UNKNOWN)),
            "piece 306: a second piece of type unknown, expected one",
        ),
        (
            with(307, |p| *p = piece("<0x0a>", BYTE)),
            "piece 307: a byte piece \"<0x0a>\", expected one from \"<0x00>\" to \"<0xFF>\"",
        ),
        (
            with(308, |p| *p = piece("▁", CONTROL)),
            "piece 308: a control or unknown piece of the single character '▁', expected at least two",
        ),
        (
            with(309, |p| *p = piece("<0x41>", USER_DEFINED)),
            "piece 309: the same text as piece 68, expected all to differ",
        ),
    ];
    for (found, expected) in expected {
        assert_eq!(found, expected);
    }
}

#[test]
fn faulty_models_are_refused_with_what_would_be_right() {
    let byte = |model: &mut Model| {
        model.pieces.remove(3 + 10);
    };
    let expected = [
        (
            refusal(byte),
            "no byte piece <0x0A>, expected all 256 because trainer_spec.byte_fallback is set",
        ),
        (
            refusal(|model| model.pieces[3 + 11].kind = Some(1)),
            "no byte piece <0x0B>, expected all 256 because trainer_spec.byte_fallback is set",
        ),
        (
            refusal(|model| model.trainer.byte_fallback = None),
            "piece 3: a byte piece, expected none because trainer_spec.byte_fallback is not set",
        ),
        (
            refusal(|model| model.pieces[0].kind = Some(CONTROL)),
            "trainer_spec.unk_id = 0: expected the id of a piece \"<unk>\" of type unknown",
        ),
        (
            refusal(|model| model.trainer.unk_id = Some(-1)),
            "trainer_spec.unk_id = -1: expected the id of a piece \"<unk>\" of type unknown",
        ),
        (
            refusal(|model| model.trainer.bos_piece = Some("<bos>".into())),
            "trainer_spec.bos_id = 1: expected the id of a piece \"<bos>\" of type control",
        ),
        (
            refusal(|model| model.trainer.eos_id = Some(i32::MAX)),
            "trainer_spec.eos_id = 2147483647: expected the id of a piece \"</s>\" of type control",
        ),
        (
            refusal(|model| model.trainer.model_type = None),
            "model_type = 1: expected 2 (BPE); other SentencePiece models (1 is Unigram) are not supported",
        ),
        (
            refusal(|model| model.normalizer.precompiled_charsmap = Some(vec![0; 9])),
            "normalizer: precompiled_charsmap = 9 bytes: expected 0 bytes, other normalization is not supported",
        ),
        (
            refusal(|model| model.denormalizer.precompiled_charsmap = Some(vec![0; 9])),
            "normalizer: denormalizer's precompiled_charsmap = 9 bytes: expected 0 bytes, other normalization is not \
             supported",
        ),
        (
            refusal(|model| model.normalizer.remove_extra_whitespaces = None),
            "normalizer: remove_extra_whitespaces = true: expected false, other normalization is not supported",
        ),
        (
            refusal(|model| model.normalizer.add_dummy_prefix = Some(false)),
            "normalizer: add_dummy_prefix = false: expected true, other normalization is not supported",
        ),
        (
            refusal(|model| model.normalizer.escape_whitespaces = Some(false)),
            "normalizer: escape_whitespaces = false: expected true, other normalization is not supported",
        ),
        (
            refusal(|model| model.trainer.treat_whitespace_as_suffix = Some(true)),
            "normalizer: treat_whitespace_as_suffix = true: expected false, other normalization is not supported",
        ),
        (
            refusal(|model| model.pieces.clear()),
            "0 pieces, expected from 1 to 1048576",
        ),
        (
            refusal(|model| model.pieces.resize(MOST_PIECES + 1, Piece::default())),
            "1048577 pieces, expected from 1 to 1048576",
        ),
    ];
    for (found, expected) in expected {
        assert_eq!(found, expected);
    }
}

#[test]
fn what_is_no_model_is_refused() {
    for bytes in [b"".as_slice(), b"{\"version\": \"1.0\"}", b"\n\n\n", &[0xFF; 64]] {
        SentencePiece::from_bytes(bytes).unwrap_err();
    }
    let error = SentencePiece::from_bytes(&vec![0; MOST_BYTES + 1]).unwrap_err();
    assert!(matches!(error, SentencePieceError::TooLarge), "{error}");
    let error = SentencePiece::load(Path::new("no/such/tokenizer.model")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read no/such/tokenizer.model");
}

#[test]
fn pieces_that_split_in_too_many_ways_are_refused() {
    let error = refusal(|model| {
        let runs = ('A'..='Z')
            .chain('a'..='z')
            .flat_map(|letter| (1..=256).map(move |n| (letter, n)));
        model.pieces.retain(|piece| piece.kind() != 1);
        model
            .pieces
            .extend(runs.map(|(letter, n)| piece(&String::from(letter).repeat(n), 1)));
    });
    assert_eq!(error, "more than 1048576 merges, expected at most that");
}

/// Neither reading nor using what was read may panic.
fn exercise(bytes: &[u8]) -> bool {
    let Ok(mut model) = SentencePiece::from_bytes(bytes) else {
        return false;
    };
    for spelled in [false, true] {
        model.tokenizer.set_encode_special_tokens(spelled);
        if let Ok(encoding) = model.tokenizer.encode("wooden <s> desk  \n✨</s> 手表", true) {
            let _ = model.tokenizer.decode(encoding.get_ids(), false);
        }
    }
    let all: Vec<u32> = (0..500).collect();
    let _ = model.tokenizer.decode(&all, true);
    true
}

#[test]
fn a_model_that_is_cut_off_anywhere_is_read_or_refused() {
    let (bytes, _) = SMALL;
    assert!(exercise(bytes));
    let read = (0..bytes.len())
        .filter(|&length| exercise(&bytes[..length]))
        .count();
    assert!(read < bytes.len() / 10, "{read} of {} were read", bytes.len());
}

#[test]
fn a_model_with_damaged_bytes_is_read_or_refused() {
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut outcomes = [0, 0];
    for round in 0..2000 {
        let mut bytes = FIXTURES[if round % 2 == 0 { 0 } else { 2 }].0.to_vec();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        outcomes[usize::from(exercise(&bytes))] += 1;
    }
    assert!(outcomes.iter().all(|&count| count > 100), "{outcomes:?}");
}

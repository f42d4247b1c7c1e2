//! Faulty models are refused with what would be right.

use super::*;

/// What is said of the small model after `change`.
fn refusal(change: impl FnOnce(&mut Model)) -> String {
    let mut model = small();
    change(&mut model);
    let error = SentencePiece::from_bytes(&model.encode_to_vec()).unwrap_err();
    error.to_string()
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

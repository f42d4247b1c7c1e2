//! Random damage, which nothing may panic at.

use super::*;

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

//! Tokens of texts that spell spaces, bytes and special tokens in every way.

use serde::Deserialize;

use super::fixtures;
use crate::directory::read_json;
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Both forms of Llama's `tokenizer.json` and the SentencePiece model itself. Texts that spell a special token stay text
/// here, where transformers takes the token; they are compared with SentencePiece, which does as we do.
#[test]
fn parity_of_tokens_of_tricky_texts() {
    #[derive(Deserialize)]
    struct Texts {
        strings: Vec<Text>,
    }
    #[derive(Deserialize)]
    struct Text {
        text: String,
        sentencepiece: Vec<u32>,
        legacy: Vec<u32>,
        metaspace: Vec<u32>,
    }
    let path = |name: &str| fixtures().join("tokenizer").join(name);
    let special = |pad: &str| SpecialTokens {
        begin: "<s>".into(),
        end: "</s>".into(),
        pad: pad.into(),
        image: "<image>".into(),
    };
    let model = Tokenizer::from_sentencepiece(&path("tokenizer.model"), special("<unk>")).unwrap();
    let legacy = Tokenizer::load(&path("tokenizer.legacy.json"), special("<pad>")).unwrap();
    let metaspace = Tokenizer::load(&path("tokenizer.metaspace.json"), special("<pad>")).unwrap();
    let texts = read_json::<Texts>(&path("expected.json")).unwrap().strings;
    assert!(texts.len() > 60);
    for Text {
        text,
        sentencepiece,
        legacy: old,
        metaspace: new,
    } in texts
    {
        assert_eq!(model.encode(&text).unwrap(), sentencepiece, "{text:?}");
        let spells_special = ["<s>", "</s>", "<unk>", "<pad>", "<image>"]
            .iter()
            .any(|token| text.contains(token));
        if spells_special {
            assert!(legacy.encode(&text).unwrap().iter().all(|id| *id > 2), "{text:?}");
        } else {
            assert_eq!(legacy.encode(&text).unwrap(), old, "{text:?}");
            assert_eq!(metaspace.encode(&text).unwrap(), new, "{text:?}");
        }
    }
}

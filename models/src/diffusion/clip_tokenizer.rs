//! CLIP's tokenizer: lower-cased byte-level BPE whose words end in `</w>`.
//!
//! Text never becomes a special token: `<|endoftext|>` inside a description is spelled out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as Inner};

use crate::directory::{read, read_json};
use crate::error::ModelError;
use crate::tokenizer::described;

/// Contractions, words, single digits, everything else.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

const BEGIN: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const END_OF_WORD: &str = "</w>";

mod fresh;

/// CLIP's tokenizer with the ids of what surrounds a text.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    inner: Inner,
    begin: u32,
    end: u32,
    pad: u32,
}

impl ClipTokenizer {
    /// Reads a directory with `vocab.json` and `merges.txt`, or with `tokenizer.json` alone.
    ///
    /// # Errors
    /// [`ModelError::File`] when one cannot be read, [`ModelError::Content`] when it is malformed or lacks a special token.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let (vocabulary, whole) = (dir.join("vocab.json"), dir.join("tokenizer.json"));
        let (path, inner) = if vocabulary.exists() || !whole.exists() {
            let inner = from_merges(&vocabulary, &dir.join("merges.txt"))?;
            (vocabulary, inner)
        } else {
            let inner = described(&read(&whole)?);
            let mut inner = inner.map_err(|error| error.in_file(&whole))?;
            inner.set_encode_special_tokens(true);
            (whole, inner)
        };
        let pad = pad_token(dir)?;
        let id = |token: &str| {
            let reason = || format!("the vocabulary has no special token {token:?}");
            let id = inner.token_to_id(token);
            id.ok_or_else(|| ModelError::Tokenizer { reason: reason() }.in_file(&path))
        };
        let (begin, end, pad) = (id(BEGIN)?, id(END)?, id(&pad)?);
        Ok(Self {
            inner,
            begin,
            end,
            pad,
        })
    }

    /// The ids of a text, nothing around them.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoded = self.inner.encode_fast(text, false).map_err(failed)?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The id that begins every text.
    pub fn begin_id(&self) -> u32 {
        self.begin
    }

    /// The id that ends every text.
    pub fn end_id(&self) -> u32 {
        self.end
    }

    /// The id that fills a text up to the encoder's length.
    pub fn pad_id(&self) -> u32 {
        self.pad
    }

    /// Refuses ids that the encoder has no vector for.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] with both sizes.
    pub fn check_fits(&self, vocab_size: usize) -> Result<(), ModelError> {
        let largest = self.inner.get_vocab(true).into_values().max().unwrap_or(0);
        if (largest as usize) < vocab_size {
            return Ok(());
        }
        let reason = format!("its largest id is {largest}, but the text encoder has {vocab_size} entries");
        Err(ModelError::Tokenizer { reason })
    }
}

fn from_merges(vocabulary: &Path, merges: &Path) -> Result<Inner, ModelError> {
    let words: BTreeMap<String, u32> = read_json(vocabulary)?;
    let text = String::from_utf8(read(merges)?).map_err(|_| ModelError::Content {
        path: merges.to_owned(),
        reason: "not UTF-8".into(),
    })?;
    let pair = |(index, line): (usize, &str)| {
        let (left, right) = line.split_once(' ').ok_or_else(|| ModelError::Content {
            path: merges.to_owned(),
            reason: format!("line {}: expected two parts with a space between them", index + 1),
        })?;
        Ok((left.to_owned(), right.to_owned()))
    };
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"));
    let pairs = lines.map(pair).collect::<Result<Vec<_>, ModelError>>()?;
    of_parts(words.into_iter().collect(), pairs).map_err(|error| error.in_file(merges))
}

fn of_parts(words: Vocab, merges: Vec<(String, String)>) -> Result<Inner, ModelError> {
    let bpe = BPE::builder()
        .vocab_and_merges(words, merges)
        .unk_token(END.into())
        .end_of_word_suffix(END_OF_WORD.into())
        .build()
        .map_err(failed)?;
    let mut inner = Inner::new(bpe);
    inner.with_normalizer(Some(normalizers()?)).map_err(failed)?;
    inner.with_pre_tokenizer(Some(pre_tokenizers()?));
    Ok(inner)
}

fn normalizers() -> Result<Normalizers, ModelError> {
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(failed)?;
    let all: Vec<NormalizerWrapper> = vec![NFC.into(), spaces.into(), Lowercase.into()];
    Ok(Normalizers::new(all))
}

fn pre_tokenizers() -> Result<PreTokenizers, ModelError> {
    let pieces = Split::new(
        SplitPattern::Regex(WORDS.into()),
        SplitDelimiterBehavior::Removed,
        true,
    );
    let bytes = ByteLevel::default().add_prefix_space(false);
    let all: Vec<PreTokenizerWrapper> = vec![pieces.map_err(failed)?.into(), bytes.into()];
    Ok(PreTokenizers::new(all))
}

/// How the padding is spelled: the tokenizer's own files, or as the end, which Stable Diffusion 1 pads with.
fn pad_token(dir: &Path) -> Result<String, ModelError> {
    let mut pad = END.to_owned();
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let path = dir.join(name);
        if path.exists() {
            let known: Map<String, Value> = read_json(&path)?;
            let token = known
                .get("pad_token")
                .map(|token| token.get("content").unwrap_or(token));
            if let Some(token) = token.and_then(Value::as_str) {
                pad = token.to_owned();
            }
        }
    }
    Ok(pad)
}

fn failed(error: impl std::fmt::Display) -> ModelError {
    ModelError::Tokenizer {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{PaddingParams, PaddingStrategy, TruncationParams};

    use super::*;

    #[test]
    fn what_a_saved_file_says_of_cutting_and_filling_changes_no_ids() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures/diffusion/tiny/tokenizer");
        let known = ClipTokenizer::load(&fixture).unwrap();
        let mut used = known.inner.clone();
        let cut = TruncationParams {
            max_length: 20,
            ..TruncationParams::default()
        };
        used.with_truncation(Some(cut)).unwrap();
        used.with_padding(Some(PaddingParams {
            strategy: PaddingStrategy::Fixed(77),
            ..PaddingParams::default()
        }));
        let (long, short) = ("green leaves on wet stone ".repeat(30), "a wooden desk");
        // It is what it says: without care these would be cut and filled.
        assert_eq!(
            used.encode_fast(long.as_str(), false).unwrap().get_ids().len(),
            77
        );
        let saved = |inner: &Inner| {
            let dir = tempfile::tempdir().unwrap();
            inner.save(dir.path().join("tokenizer.json"), false).unwrap();
            ClipTokenizer::load(dir.path()).unwrap()
        };
        let (plain, used) = (saved(&known.inner), saved(&used));
        for text in [long.as_str(), short, ""] {
            let expected = known.encode(text).unwrap();
            assert_eq!(plain.encode(text).unwrap(), expected);
            assert_eq!(used.encode(text).unwrap(), expected);
        }
        assert!(known.encode(&long).unwrap().len() > 77);
        let special = |tokenizer: &ClipTokenizer| (tokenizer.begin, tokenizer.end, tokenizer.pad);
        assert_eq!(special(&used), special(&known));
    }
}

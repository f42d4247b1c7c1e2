//! A tokenizer for a fresh model: learnt, and written as CLIP's are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::Tokenizer as Inner;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{BEGIN, ClipTokenizer, END, END_OF_WORD, failed, normalizers, of_parts, pre_tokenizers};
use crate::directory::{to_json, write};
use crate::error::ModelError;

impl ClipTokenizer {
    /// Learns merges from `corpus` until the vocabulary has `vocab_size` entries or no pair is left. In CLIP's order: the bytes,
    /// the bytes that end a word, what was merged, begin and end. The result depends on the corpus alone.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when `vocab_size` leaves no room for the bytes.
    pub fn train<S: AsRef<str> + Send>(
        corpus: impl Iterator<Item = S> + Send,
        vocab_size: usize,
    ) -> Result<Self, ModelError> {
        let alphabet: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
        let least = 2 * alphabet.len() + 2;
        if vocab_size < least {
            let reason = format!("vocabulary size {vocab_size}, expected at least {least}");
            return Err(ModelError::Tokenizer { reason });
        }
        let merges = merges(corpus, vocab_size - least)?;
        let bytes = alphabet.iter().map(char::to_string);
        let ending = alphabet.iter().map(|byte| format!("{byte}{END_OF_WORD}"));
        let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
        let special = [BEGIN, END].map(str::to_owned);
        let words = bytes
            .chain(ending)
            .chain(merged)
            .chain(special)
            .zip(0..)
            .collect();
        let inner = of_parts(words, merges)?;
        let id = |token: &str| inner.token_to_id(token).unwrap_or_default();
        let (begin, end) = (id(BEGIN), id(END));
        Ok(Self {
            begin,
            end,
            pad: end,
            inner,
        })
    }

    /// Writes `vocab.json`, `merges.txt` and the special tokens into a directory that exists.
    ///
    /// # Errors
    /// [`ModelError::File`] with the file that could not be written.
    pub fn write(&self, dir: &Path) -> Result<(), ModelError> {
        let vocabulary: BTreeMap<String, u32> = self.inner.get_vocab(true).into_iter().collect();
        let lines = merges_of(&self.inner)?;
        let lines = lines.iter().map(|(left, right)| format!("{left} {right}\n"));
        let text: String = std::iter::once("#version: 0.2\n".to_owned())
            .chain(lines)
            .collect();
        let special = json!({"bos_token": BEGIN, "eos_token": END, "pad_token": END, "unk_token": END});
        let mut config = special.clone();
        config["tokenizer_class"] = json!("CLIPTokenizer");
        config["model_max_length"] = json!(77);
        write(&dir.join("vocab.json"), &to_json(&vocabulary))?;
        write(&dir.join("merges.txt"), text.as_bytes())?;
        write(&dir.join("special_tokens_map.json"), &to_json(&special))?;
        write(&dir.join("tokenizer_config.json"), &to_json(&config))
    }
}

/// The first `count` merges of the corpus.
fn merges<S: AsRef<str> + Send>(
    corpus: impl Iterator<Item = S> + Send,
    count: usize,
) -> Result<Vec<(String, String)>, ModelError> {
    let alphabet: std::collections::HashSet<char> = ByteLevel::alphabet().into_iter().collect();
    let mut inner = Inner::new(BPE::default());
    inner.with_normalizer(Some(normalizers()?)).map_err(failed)?;
    inner.with_pre_tokenizer(Some(pre_tokenizers()?));
    let trainer = BpeTrainer::builder()
        // Never fewer than are wanted; what is too many is cut below.
        .vocab_size(2 * alphabet.len() + count)
        .show_progress(false)
        .initial_alphabet(alphabet)
        .end_of_word_suffix(END_OF_WORD.into())
        .build();
    inner
        .train(&mut TrainerWrapper::BpeTrainer(trainer), corpus)
        .map_err(failed)?;
    let mut merges = merges_of(&inner)?;
    merges.truncate(count);
    Ok(merges)
}

/// The merges of a tokenizer, in their order: its library shows them in its file's form only.
fn merges_of(inner: &Inner) -> Result<Vec<(String, String)>, ModelError> {
    let json = serde_json::to_value(inner.get_model()).map_err(failed)?;
    let pair = |pair: &Value| match pair {
        Value::Array(parts) => Some((
            parts.first()?.as_str()?.to_owned(),
            parts.get(1)?.as_str()?.to_owned(),
        )),
        Value::String(text) => text
            .split_once(' ')
            .map(|(left, right)| (left.to_owned(), right.to_owned())),
        _ => None,
    };
    let merges = json["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(merges.iter().filter_map(pair).collect())
}

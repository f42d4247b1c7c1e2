//! Text to token ids and back: a byte-level BPE, trained here or read from a Hugging Face `tokenizer.json`.
//!
//! Every text encodes, because single bytes are tokens. Text never becomes a special token: `</s>` or `<image>` inside a
//! caption is spelled out, so that no product description can end a prompt or claim an image. Special ids are placed by
//! [`crate::policy`] only.

mod described;
mod special_tokens;

use std::collections::HashSet;
use std::path::Path;

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as Inner};

use crate::directory::read;
use crate::error::ModelError;
use crate::sentencepiece::SentencePiece;

pub(crate) use described::described;
pub use special_tokens::SpecialTokens;

/// A tokenizer and the ids of its special tokens.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Inner,
    /// For what does not begin a text, where the vocabulary makes a difference.
    behind: Option<Inner>,
    special: SpecialTokens,
    begin_id: u32,
    end_id: u32,
    image_id: u32,
    vocab_size: usize,
}

impl Tokenizer {
    /// Learns merges from `corpus` until the vocabulary, special tokens (ids 0 to 3) and the 256 bytes included, has
    /// `vocab_size` entries or no pair is left. The result depends on the corpus alone.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when `vocab_size` leaves no room for the bytes.
    pub fn train<S: AsRef<str> + Send>(
        corpus: impl Iterator<Item = S> + Send,
        vocab_size: usize,
        special: SpecialTokens,
    ) -> Result<Self, ModelError> {
        let tokens = [&special.pad, &special.begin, &special.end, &special.image];
        let alphabet: HashSet<char> = ByteLevel::alphabet().into_iter().collect();
        let least = tokens.len() + alphabet.len();
        if vocab_size < least {
            let reason = format!("vocabulary size {vocab_size}, expected at least {least}");
            return Err(ModelError::Tokenizer { reason });
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .show_progress(false)
            .initial_alphabet(alphabet)
            .special_tokens(tokens.map(|token| AddedToken::from(token.clone(), true)).to_vec())
            .build();
        let mut inner = Inner::new(BPE::default());
        inner.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
        inner.with_decoder(Some(ByteLevelDecoder::default()));
        inner
            .train(&mut TrainerWrapper::BpeTrainer(trainer), corpus)
            .map_err(failed)?;
        Self::new(inner, special)
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError::File`] when it cannot be read, [`ModelError::Content`] when it is malformed or lacks a special
    /// token.
    pub fn load(path: &Path, special: SpecialTokens) -> Result<Self, ModelError> {
        Self::from_json(&read(path)?, special).map_err(|error| error.in_file(path))
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when they are malformed or lack a special token.
    pub fn from_json(bytes: &[u8], special: SpecialTokens) -> Result<Self, ModelError> {
        Self::new(described(bytes)?, special)
    }

    fn new(mut inner: Inner, special: SpecialTokens) -> Result<Self, ModelError> {
        inner.set_encode_special_tokens(true);
        let id = |token: &str| {
            let reason = || format!("the vocabulary has no special token {token:?}");
            inner
                .token_to_id(token)
                .ok_or_else(|| ModelError::Tokenizer { reason: reason() })
        };
        let (begin_id, end_id) = (id(&special.begin)?, id(&special.end)?);
        id(&special.pad)?;
        let highest = inner.get_vocab(true).into_values().max();
        let vocab_size = highest.map_or(0, |id| id as usize + 1);
        Ok(Self {
            image_id: inner.token_to_id(&special.image).unwrap_or(vocab_size as u32),
            vocab_size,
            behind: behind(&inner),
            inner,
            special,
            begin_id,
            end_id,
        })
    }

    /// Reads a SentencePiece `tokenizer.model`. Its own spelling of a special token counts where it has one.
    ///
    /// # Errors
    /// [`ModelError::Content`] when it is malformed, of a kind that is not read here, or lacks a special token.
    pub fn from_sentencepiece(path: &Path, special: SpecialTokens) -> Result<Self, ModelError> {
        let read = || {
            let model = SentencePiece::load(path)?;
            let special = SpecialTokens {
                begin: model.begin.unwrap_or(special.begin),
                end: model.end.unwrap_or(special.end),
                pad: model.pad.unwrap_or(special.pad),
                image: special.image,
            };
            Self::new(model.tokenizer, special)
        };
        read().map_err(|error: ModelError| error.in_file(path))
    }

    /// With `id` standing for an image where the vocabulary has no token for it, as in the LLaVA repository.
    #[must_use]
    pub fn with_image_id(mut self, id: u32) -> Self {
        if self.inner.token_to_id(&self.special.image).is_none() {
            self.image_id = id;
        }
        self
    }

    /// Whether the vocabulary has a token for the image.
    pub(crate) fn has_image_token(&self) -> bool {
        self.inner.token_to_id(&self.special.image).is_some()
    }

    /// With tokens for the image and for padding behind the vocabulary, the image's being `id`, and the begin token put before
    /// every text by whoever asks for special tokens.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the vocabulary does not end before `id`.
    pub(crate) fn with_image_token(mut self, id: usize) -> Result<Self, ModelError> {
        const PAD: &str = "<pad>";
        self.special.pad = PAD.into();
        let special = [self.special.image.as_str(), PAD].map(|token| AddedToken::from(token, true));
        self.inner.add_special_tokens(special).map_err(failed)?;
        let begin = (self.special.begin.clone(), self.begin_id);
        let template = TemplateProcessing::builder()
            .try_single(format!("{} $A", begin.0))
            .and_then(|builder| builder.try_pair(format!("{0} $A {0} $B", begin.0)))
            .map_err(|reason| ModelError::Tokenizer { reason })?
            .special_tokens(vec![begin])
            .build()
            .map_err(|error| ModelError::Tokenizer {
                reason: error.to_string(),
            })?;
        self.inner.with_post_processor(Some(template));
        let extended = Self::new(self.inner, self.special)?;
        match extended.image_id as usize == id {
            true => Ok(extended),
            false => Err(ModelError::Tokenizer {
                reason: format!(
                    "its vocabulary ends at {}, expected at {id}, the vocab_size",
                    extended.image_id
                ),
            }),
        }
    }

    /// Tokens that are words, whatever was added behind them.
    pub(crate) fn words(&self) -> usize {
        self.inner.get_vocab_size(false)
    }

    /// The id of a token.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Refuses a configuration that gives the image another id.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] with both ids.
    pub(crate) fn check_image(&self, expected: u32) -> Result<(), ModelError> {
        let (found, image) = (self.image_id, &self.special.image);
        if found == expected {
            return Ok(());
        }
        Err(ModelError::Tokenizer {
            reason: format!(
                "{image:?} has id {found}, expected {expected}, the image_token_index of config.json"
            ),
        })
    }

    /// The content of a `tokenizer.json`; equal tokenizers give equal text.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the library cannot write it.
    pub fn to_json(&self) -> Result<String, ModelError> {
        self.inner.to_string(true).map_err(failed)
    }

    /// Ids of `text`, without special tokens.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a loaded tokenizer has no token for some part of it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        encode(&self.inner, text)
    }

    /// Ids of `text` that stands behind a special token such as the image's: some vocabularies mark the beginning of a
    /// whole text and of nothing else.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_behind(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        encode(self.behind.as_ref().unwrap_or(&self.inner), text)
    }

    /// The text of `ids`, special tokens and unknown ids left out. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when a loaded tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.inner.decode(ids, true).map_err(failed)
    }

    /// How the special tokens are spelled.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// All ids are below this, those of special tokens too: the rows that a table of tokens needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Refuses a model's table of tokens that is too short.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] with both sizes.
    pub(crate) fn check_fits(&self, rows: usize) -> Result<(), ModelError> {
        let needed = self.vocab_size;
        if needed <= rows {
            return Ok(());
        }
        Err(ModelError::Tokenizer {
            reason: format!(
                "its ids need {needed} rows, expected at most {rows}, the vocab_size of config.json"
            ),
        })
    }

    /// Id that begins a prompt.
    pub fn begin_id(&self) -> u32 {
        self.begin_id
    }

    /// Id that ends a completion.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// Id that stands for an image.
    pub fn image_id(&self) -> u32 {
        self.image_id
    }
}

fn encode(inner: &Inner, text: &str) -> Result<Vec<u32>, ModelError> {
    Ok(inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
}

/// The tokenizer that puts no mark before a text, if `inner` does so at the beginning only: Llama's with `legacy=False`.
fn behind(inner: &Inner) -> Option<Inner> {
    match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::Metaspace(marks)) if marks.prepend_scheme == PrependScheme::First => {
            let (mut inner, mut marks) = (inner.clone(), marks.clone());
            marks.set_prepend_scheme(PrependScheme::Never);
            inner.with_pre_tokenizer(Some(marks));
            Some(inner)
        }
        _ => None,
    }
}

fn failed(source: tokenizers::Error) -> ModelError {
    ModelError::Tokenizer {
        reason: source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORPUS: [&str; 4] = [
        "wooden desk, warm lighting, ceramic vase",
        "marble table, warm lighting, green leaves",
        "sandy beach, morning light, sea shells",
        "wooden shelf, soft light, ceramic vase",
    ];

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(CORPUS.iter(), 400, SpecialTokens::default()).unwrap()
    }

    #[test]
    fn any_text_comes_back_as_it_went_in() {
        let tokenizer = tokenizer();
        for text in [
            "wooden desk, soft light",
            "",
            "  two  spaces\n",
            "Ärmel 手表 ✨",
            "</s> <image> <bos>",
        ] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn special_tokens_in_text_are_spelled_out() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode("a </s> b <image> c <bos> <pad>").unwrap();
        assert!(ids.iter().all(|&id| id > 3), "{ids:?}");
    }

    #[test]
    fn known_words_are_one_token_each() {
        assert_eq!(tokenizer().encode("wooden desk, warm lighting").unwrap().len(), 5);
    }

    #[test]
    fn training_twice_gives_the_same_file() {
        let first = tokenizer().to_json().unwrap();
        assert!((0..5).all(|_| tokenizer().to_json().unwrap() == first));
    }

    #[test]
    fn a_saved_tokenizer_encodes_the_same() {
        let tokenizer = tokenizer();
        let json = tokenizer.to_json().unwrap();
        let loaded = Tokenizer::from_json(json.as_bytes(), SpecialTokens::default()).unwrap();
        assert_eq!(
            loaded.encode("warm </s> vase").unwrap(),
            tokenizer.encode("warm </s> vase").unwrap()
        );
        assert_eq!(loaded.to_json().unwrap(), json);
        assert_eq!(
            (loaded.end_id(), loaded.vocab_size()),
            (tokenizer.end_id(), tokenizer.vocab_size())
        );
    }

    #[test]
    fn a_missing_special_token_is_named() {
        let json = tokenizer().to_json().unwrap();
        let llama = SpecialTokens {
            begin: "<s>".into(),
            ..SpecialTokens::default()
        };
        let error = Tokenizer::from_json(json.as_bytes(), llama).unwrap_err();
        assert!(error.to_string().contains("<s>"), "{error}");
    }

    #[test]
    fn a_vocabulary_without_room_for_the_bytes_is_refused() {
        let error = Tokenizer::train(CORPUS.iter(), 259, SpecialTokens::default()).unwrap_err();
        assert!(error.to_string().contains("260"), "{error}");
    }
}

//! Reads SentencePiece's `tokenizer.model`, which Llama, Vicuna and LLaVA checkpoints have, into a [`Tokenizer`].
//!
//! The result tokenizes as transformers' fast Llama tokenizer does with `legacy=True` and `add_prefix_space=True`: "▁"
//! before the text and for each space, no pre-tokenizer, a BPE whose merges follow from the pieces and their scores,
//! bytes for what has no piece. It does not put begin and end tokens around a text, and knows nothing of tokens that a
//! checkpoint adds in other files, `<image>` of LLaVA for one.
//!
//! Only BPE models without a normalizer of their own are read. Unigram is refused: its search would find `</s>` spelled
//! in a text, because `tokenizers` has no way to keep a piece out of it. Merges are kept from that here, unlike in
//! transformers: none makes or takes a control, unknown or byte piece.

mod error;
mod format;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use prost::Message;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::utils::Sequence as Normalizers;
use tokenizers::{AddedToken, Tokenizer};

pub use error::{PieceFault, SentencePieceError};
use format::{CONTROL, Model, Piece, UNKNOWN, USER_DEFINED};

/// What a space becomes before the BPE sees it.
const SPACE: &str = "▁";

/// Bytes beyond which a file is refused; the 32 000 pieces of Llama 2 take half a million.
pub const MOST_BYTES: usize = 8 << 20;

/// Pieces beyond which a model is refused.
pub const MOST_PIECES: usize = 1 << 20;

/// Bytes beyond which one piece is refused.
pub const LONGEST_PIECE: usize = 256;

/// Merges beyond which a model is refused; Llama 2 has 61 249.
pub const MOST_MERGES: usize = 1 << 20;

/// A tokenizer, and how its special tokens are spelled.
#[derive(Debug, Clone)]
pub struct SentencePiece {
    /// Control and unknown pieces are special tokens of it, user-defined ones are added tokens that are not special.
    pub tokenizer: Tokenizer,
    /// Stands for text that has no other token.
    pub unknown: String,
    /// Begins a text, if the model has such a piece.
    pub begin: Option<String>,
    /// Ends a text, if the model has such a piece.
    pub end: Option<String>,
    /// Fills short rows, if the model has such a piece.
    pub pad: Option<String>,
}

impl SentencePiece {
    /// Reads a `tokenizer.model`.
    ///
    /// # Errors
    /// [`SentencePieceError::File`] when it cannot be read, and those of [`Self::from_bytes`].
    pub fn load(path: &Path) -> Result<Self, SentencePieceError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(|source| SentencePieceError::File {
                path: path.to_owned(),
                source,
            })?;
        Self::from_bytes(&bytes)
    }

    /// Reads the bytes of a `tokenizer.model`.
    ///
    /// # Errors
    /// What is malformed, inconsistent or not supported, and what would be right.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SentencePieceError> {
        if bytes.len() > MOST_BYTES {
            return Err(SentencePieceError::TooLarge);
        }
        let model = Model::decode(bytes)?;
        model.check_algorithm()?;
        model.check_pieces()?;
        let trainer = &model.trainer;
        let unknown = model.named("unk", trainer.unk_id(), trainer.unk_piece(), UNKNOWN)?;
        let control = |role, id, text| {
            (id >= 0)
                .then(|| model.named(role, id, text, CONTROL))
                .transpose()
        };
        Ok(Self {
            begin: control("bos", trainer.bos_id(), trainer.bos_piece())?,
            end: control("eos", trainer.eos_id(), trainer.eos_piece())?,
            pad: control("pad", trainer.pad_id(), trainer.pad_piece())?,
            tokenizer: build(&model, &unknown, merges(&model.pieces)?)
                .map_err(SentencePieceError::Library)?,
            unknown,
        })
    }
}

/// Pairs of pieces that make a piece, those of the highest score first; among equals those of the longest left part,
/// then of the longest right part, then of the first piece.
fn merges(pieces: &[Piece]) -> Result<Vec<(String, String)>, SentencePieceError> {
    let texts: HashSet<&str> = pieces
        .iter()
        .filter(|piece| piece.is_text())
        .map(Piece::piece)
        .collect();
    let mut splits = Vec::new();
    for (id, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.is_text()) {
        let text = piece.piece();
        let length = text.chars().count();
        for (left, (at, _)) in text.char_indices().enumerate().skip(1) {
            if texts.contains(&text[..at]) && texts.contains(&text[at..]) {
                if splits.len() == MOST_MERGES {
                    return Err(SentencePieceError::TooManyMerges);
                }
                splits.push((piece.score(), left, length - left, id, at));
            }
        }
    }
    splits.sort_unstable_by(|a, b| {
        let scores = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
        scores.then((b.1, b.2).cmp(&(a.1, a.2))).then(a.3.cmp(&b.3))
    });
    let pair = |(_, _, _, id, at): (f32, usize, usize, usize, usize)| {
        let (left, right) = pieces[id].piece().split_at(at);
        (left.to_owned(), right.to_owned())
    };
    Ok(splits.into_iter().map(pair).collect())
}

/// Puts the tokenizer together from checked parts.
fn build(model: &Model, unknown: &str, merges: Vec<(String, String)>) -> tokenizers::Result<Tokenizer> {
    let pieces = model.pieces.iter().map(Piece::piece);
    let vocab: Vocab = pieces.map(str::to_owned).zip(0..).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .unk_token(unknown.to_owned())
        .fuse_unk(true)
        .byte_fallback(model.trainer.byte_fallback())
        .build()?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_normalizer(Some(Normalizers::new(vec![
        Prepend::new(SPACE.to_owned()).into(),
        Replace::new(" ", SPACE)?.into(),
    ])))?;
    tokenizer.with_decoder(Some(Decoders::new(vec![
        Replace::new(SPACE, " ")?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
        Strip::new(' ', 1, 0).into(),
    ])));
    let added = model.pieces.iter().filter_map(|piece| {
        let special = match piece.kind() {
            UNKNOWN | CONTROL => true,
            USER_DEFINED => false,
            _ => return None,
        };
        Some(AddedToken::from(piece.piece(), special).normalized(false))
    });
    tokenizer.add_tokens(added)?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests;

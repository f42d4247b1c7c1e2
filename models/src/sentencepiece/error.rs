//! Why a `tokenizer.model` is refused. Each message names what is wrong, with the piece's index where one is at fault,
//! and what would be right.

use std::path::PathBuf;

use super::format::byte_piece;
use super::{LONGEST_PIECE, MOST_BYTES, MOST_MERGES, MOST_PIECES};

/// Why a `tokenizer.model` was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SentencePieceError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("more than {MOST_BYTES} bytes, expected at most that for a tokenizer.model")]
    TooLarge,
    /// Bytes that are not a SentencePiece model.
    #[error("no SentencePiece model: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Another algorithm than BPE.
    #[error(
        "model_type = {found}: expected 2 (BPE); other SentencePiece models (1 is Unigram) are not supported"
    )]
    ModelType {
        /// Its number in SentencePiece's format.
        found: i32,
    },
    /// The model changes texts in a way that the tokenizer would not.
    #[error("normalizer: {setting} = {found}: expected {expected}, other normalization is not supported")]
    Normalizer {
        /// The field of SentencePiece's settings.
        setting: &'static str,
        /// What it was.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// No pieces, or too many.
    #[error("{found} pieces, expected from 1 to {MOST_PIECES}")]
    PieceCount {
        /// How many there are.
        found: usize,
    },
    /// One piece is not as it must be.
    #[error("piece {index}: {fault}")]
    Piece {
        /// Its place in the model, which is its id.
        index: usize,
        /// What is wrong.
        fault: PieceFault,
    },
    /// A byte has no piece although the model spells unknown characters in bytes.
    #[error("no byte piece {}, expected all 256 because trainer_spec.byte_fallback is set", byte_piece(*byte))]
    MissingByte {
        /// The first such byte.
        byte: u8,
    },
    /// A special piece is not where the model says.
    #[error("trainer_spec.{role}_id = {id}: expected the id of a piece {piece:?} of type {expected}")]
    Special {
        /// Which: `unk`, `bos`, `eos` or `pad`.
        role: &'static str,
        /// The id of the model's settings.
        id: i32,
        /// How the model's settings spell it.
        piece: String,
        /// The type it must have.
        expected: &'static str,
    },
    /// The pieces can be put together in too many ways.
    #[error("more than {MOST_MERGES} merges, expected at most that")]
    TooManyMerges,
    /// The tokenizer library refused the parts.
    #[error("cannot build the tokenizer: {0}")]
    Library(#[source] tokenizers::Error),
}

/// What is wrong with one piece.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PieceFault {
    /// It is empty or too long.
    #[error("{0} bytes long, expected from 1 to {LONGEST_PIECE}")]
    Length(usize),
    /// An earlier piece is spelled the same.
    #[error("the same text as piece {0}, expected all to differ")]
    Duplicate(usize),
    /// Its score is NaN or infinite.
    #[error("score {0}, expected a finite number")]
    Score(f32),
    /// Its type is none of SentencePiece's.
    #[error("type {0}, expected from 1 to 6")]
    Type(i32),
    /// It stands for unknown text, as an earlier piece does.
    #[error("a second piece of type unknown, expected one")]
    SecondUnknown,
    /// It stands for a byte, in a model that has no use for it.
    #[error("a byte piece, expected none because trainer_spec.byte_fallback is not set")]
    UnusedByte,
    /// It stands for a byte but does not say which.
    #[error("a byte piece {0:?}, expected one from \"<0x00>\" to \"<0xFF>\"")]
    Byte(String),
    /// A control or unknown piece that any text with this character would become.
    #[error("a control or unknown piece of the single character {0:?}, expected at least two")]
    SingleCharacter(char),
}

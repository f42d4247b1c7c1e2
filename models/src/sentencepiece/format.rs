//! The parts of SentencePiece's file format that matter here, and which of its models are sound. Fields that only its
//! own trainer reads are left out; prost skips them.

use std::collections::HashMap;

use super::error::{PieceFault, SentencePieceError};
use super::{LONGEST_PIECE, MOST_PIECES};

/// How a byte's piece is spelled.
pub(super) fn byte_piece(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// `TrainerSpec.ModelType` of BPE.
const BPE_MODEL: i32 = 2;

// `SentencePiece.Type`.
const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// SentencePiece's `ModelProto`, the fields that matter here.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Model {
    #[prost(message, repeated, tag = "1")]
    pub(super) pieces: Vec<Piece>,
    #[prost(message, required, tag = "2")]
    pub(super) trainer: TrainerSpec,
    #[prost(message, required, tag = "3")]
    pub(super) normalizer: NormalizerSpec,
    #[prost(message, required, tag = "5")]
    pub(super) denormalizer: NormalizerSpec,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Piece {
    #[prost(string, optional, tag = "1")]
    pub(super) piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub(super) score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    pub(super) kind: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TrainerSpec {
    #[prost(int32, optional, tag = "3", default = "1")]
    pub(super) model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    pub(super) treat_whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    pub(super) byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    pub(super) unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41", default = "1")]
    pub(super) bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42", default = "2")]
    pub(super) eos_id: Option<i32>,
    #[prost(int32, optional, tag = "43", default = "-1")]
    pub(super) pad_id: Option<i32>,
    #[prost(string, optional, tag = "45", default = "<unk>")]
    pub(super) unk_piece: Option<String>,
    #[prost(string, optional, tag = "46", default = "<s>")]
    pub(super) bos_piece: Option<String>,
    #[prost(string, optional, tag = "47", default = "</s>")]
    pub(super) eos_piece: Option<String>,
    #[prost(string, optional, tag = "48", default = "<pad>")]
    pub(super) pad_piece: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    pub(super) add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    pub(super) remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    pub(super) escape_whitespaces: Option<bool>,
}

impl Piece {
    /// Whether it stands for the characters that it is spelled with.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind(), NORMAL | USER_DEFINED | UNUSED)
    }

    /// What can be wrong with a piece on its own.
    fn check(&self, byte_fallback: bool) -> Result<(), PieceFault> {
        let text = self.piece();
        let mut characters = text.chars();
        let single = characters.next().filter(|_| characters.next().is_none());
        match (self.kind(), single) {
            _ if !(1..=LONGEST_PIECE).contains(&text.len()) => Err(PieceFault::Length(text.len())),
            _ if !self.score().is_finite() => Err(PieceFault::Score(self.score())),
            (UNKNOWN | CONTROL, Some(character)) => Err(PieceFault::SingleCharacter(character)),
            (BYTE, _) if !byte_fallback => Err(PieceFault::UnusedByte),
            (BYTE, _) if !(0..=u8::MAX).any(|byte| byte_piece(byte) == text) => {
                Err(PieceFault::Byte(text.to_owned()))
            }
            (NORMAL..=BYTE, _) => Ok(()),
            (kind, _) => Err(PieceFault::Type(kind)),
        }
    }
}

impl Model {
    /// Refuses algorithms other than BPE, and changes to texts that the tokenizer would not make.
    pub(super) fn check_algorithm(&self) -> Result<(), SentencePieceError> {
        let found = self.trainer.model_type();
        if found != BPE_MODEL {
            return Err(SentencePieceError::ModelType { found });
        }
        let (before, after) = (&self.normalizer, &self.denormalizer);
        let suffix = self.trainer.treat_whitespace_as_suffix();
        let flag = |setting, found: bool, expected| (setting, found.to_string(), expected);
        let bytes = |setting, found: &[u8]| (setting, format!("{} bytes", found.len()), "0 bytes");
        let rules = [
            flag("add_dummy_prefix", before.add_dummy_prefix(), "true"),
            flag(
                "remove_extra_whitespaces",
                before.remove_extra_whitespaces(),
                "false",
            ),
            flag("escape_whitespaces", before.escape_whitespaces(), "true"),
            flag("treat_whitespace_as_suffix", suffix, "false"),
            bytes("precompiled_charsmap", before.precompiled_charsmap()),
            bytes(
                "denormalizer's precompiled_charsmap",
                after.precompiled_charsmap(),
            ),
        ];
        match rules.into_iter().find(|(_, found, expected)| found != expected) {
            Some((setting, found, expected)) => Err(SentencePieceError::Normalizer {
                setting,
                found,
                expected,
            }),
            None => Ok(()),
        }
    }

    /// Refuses pieces that are faulty on their own or together.
    pub(super) fn check_pieces(&self) -> Result<(), SentencePieceError> {
        let byte_fallback = self.trainer.byte_fallback();
        let found = self.pieces.len();
        if !(1..=MOST_PIECES).contains(&found) {
            return Err(SentencePieceError::PieceCount { found });
        }
        let mut ids = HashMap::with_capacity(found);
        let mut unknowns = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            let at = |fault| SentencePieceError::Piece { index, fault };
            piece.check(byte_fallback).map_err(at)?;
            if let Some(first) = ids.insert(piece.piece(), index) {
                return Err(at(PieceFault::Duplicate(first)));
            }
            unknowns += usize::from(piece.kind() == UNKNOWN);
            if unknowns > 1 {
                return Err(at(PieceFault::SecondUnknown));
            }
        }
        let has = |byte: &u8| {
            let id = ids.get(byte_piece(*byte).as_str());
            id.is_some_and(|&id| self.pieces[id].kind() == BYTE)
        };
        match (0..=u8::MAX).find(|byte| byte_fallback && !has(byte)) {
            Some(byte) => Err(SentencePieceError::MissingByte { byte }),
            None => Ok(()),
        }
    }

    /// The text of the special piece that the settings name, which must be where they say.
    pub(super) fn named(
        &self,
        role: &'static str,
        id: i32,
        text: &str,
        kind: i32,
    ) -> Result<String, SentencePieceError> {
        let piece = usize::try_from(id).ok().and_then(|id| self.pieces.get(id));
        match piece.filter(|piece| piece.kind() == kind && piece.piece() == text) {
            Some(_) => Ok(text.to_owned()),
            None => Err(SentencePieceError::Special {
                role,
                id,
                piece: text.to_owned(),
                expected: if kind == UNKNOWN { "unknown" } else { "control" },
            }),
        }
    }
}

//! A description as the text encoder reads it: weighted parts, tokens, chunks of the encoder's length.
//!
//! The emphasis syntax is that of AUTOMATIC1111's web UI, which CAIG's optional embedder follows: `(words)` are weighted by
//! 1.1, `[words]` by 1 / 1.1, `(words:1.3)` by 1.3, nested as often as one likes; a backslash makes a bracket a bracket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clip_tokenizer::ClipTokenizer;
use crate::error::ModelError;

/// What becomes of a description with more tokens than the text encoder reads at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LongPrompts {
    /// It is read in chunks, whose tokens the U-net attends to together.
    #[default]
    Chunk,
    /// It is refused with its length.
    Refuse,
}

/// How descriptions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptStyle {
    /// What becomes of long ones. Default: chunks. diffusers cuts them.
    pub long: LongPrompts,
    /// Whether brackets are emphasis. Default no: a policy writes sentences, in which brackets are brackets.
    pub emphasis: bool,
}

/// One chunk: as many tokens as the encoder reads, and the weight of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Begin, up to the encoder's length less two of the text's tokens, end, padding.
    pub ids: Vec<u32>,
    /// One per token; 1 for everything that is not text.
    pub weights: Vec<f32>,
}

/// Cuts a description into chunks of `length` tokens; an empty one is one chunk.
///
/// # Errors
/// [`ModelError::Prompt`] for a long one where those are refused, [`ModelError::Tokenizer`] when it cannot be encoded.
pub fn chunks(
    text: &str,
    style: PromptStyle,
    tokenizer: &ClipTokenizer,
    length: usize,
) -> Result<Vec<Chunk>, ModelError> {
    let parts = match style.emphasis {
        true => weighted_parts(text),
        false => vec![(text.to_owned(), 1.0)],
    };
    let mut tokens: Vec<(u32, f32)> = vec![];
    for (part, weight) in &parts {
        tokens.extend(tokenizer.encode(part)?.into_iter().map(|id| (id, *weight)));
    }
    let room = length - 2;
    if tokens.len() > room && style.long == LongPrompts::Refuse {
        return Err(ModelError::Prompt {
            reason: format!(
                "{} tokens, expected at most {room}: the text encoder reads no more at once; write less, or allow chunks",
                tokens.len()
            ),
        });
    }
    let chunk = |tokens: &[(u32, f32)]| {
        let mut ids = vec![tokenizer.begin_id()];
        let mut weights = vec![1.0];
        ids.extend(tokens.iter().map(|token| token.0));
        weights.extend(tokens.iter().map(|token| token.1));
        ids.push(tokenizer.end_id());
        ids.resize(length, tokenizer.pad_id());
        weights.resize(length, 1.0);
        Chunk { ids, weights }
    };
    Ok(match tokens.is_empty() {
        true => vec![chunk(&[])],
        false => tokens.chunks(room).map(chunk).collect(),
    })
}

/// The text without its syntax, in parts of equal weight.
fn weighted_parts(text: &str) -> Vec<(String, f32)> {
    const STRONGER: f32 = 1.1;
    let mut parts: Vec<(String, f32)> = vec![];
    let (mut round, mut square): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '\\' => {
                let literal = rest[1..].chars().next().filter(|c| "()[]\\".contains(*c));
                let shown = literal.unwrap_or('\\');
                taken = 1 + literal.map_or(0, char::len_utf8);
                push(&mut parts, &shown.to_string());
            }
            '(' => begin(&mut parts, &mut round),
            '[' => begin(&mut parts, &mut square),
            ':' if !round.is_empty() => match number_before_bracket(&rest[1..]) {
                Some((weight, length)) => {
                    taken = 1 + length;
                    multiply(&mut parts, round.pop(), weight);
                }
                None => push(&mut parts, ":"),
            },
            ')' if !round.is_empty() => multiply(&mut parts, round.pop(), STRONGER),
            ']' if !square.is_empty() => multiply(&mut parts, square.pop(), 1.0 / STRONGER),
            other => push(&mut parts, &other.to_string()),
        }
        rest = &rest[taken..];
    }
    // A bracket that is never closed counts to the end.
    while let Some(from) = round.pop() {
        multiply(&mut parts, Some(from), STRONGER);
    }
    while let Some(from) = square.pop() {
        multiply(&mut parts, Some(from), 1.0 / STRONGER);
    }
    merged(parts)
}

/// Opens a part that a bracket's weight will be laid on.
fn begin(parts: &mut Vec<(String, f32)>, brackets: &mut Vec<usize>) {
    brackets.push(parts.len());
    parts.push((String::new(), 1.0));
}

fn push(parts: &mut Vec<(String, f32)>, text: &str) {
    match parts.last_mut() {
        Some((last, weight)) if *weight == 1.0 => last.push_str(text),
        _ => parts.push((text.to_owned(), 1.0)),
    }
}

/// Weights everything since a bracket was opened, and begins a new part behind it.
fn multiply(parts: &mut Vec<(String, f32)>, from: Option<usize>, by: f32) {
    let from = from.unwrap_or(parts.len());
    parts[from..].iter_mut().for_each(|part| part.1 *= by);
    parts.push((String::new(), 1.0));
}

/// `1.3)` with spaces around the number, and how much of the text that is.
fn number_before_bracket(text: &str) -> Option<(f32, usize)> {
    let end = text.find(')')?;
    let number = text[..end].trim();
    let digits = number.trim_start_matches(['+', '-']);
    let is_plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    let weight: f32 = number.parse().ok().filter(|_| is_plain)?;
    weight.is_finite().then_some((weight, end + 1))
}

/// Without empty parts, neighbours of equal weight joined.
fn merged(parts: Vec<(String, f32)>) -> Vec<(String, f32)> {
    let mut merged: Vec<(String, f32)> = vec![];
    for (text, weight) in parts.into_iter().filter(|(text, _)| !text.is_empty()) {
        match merged.last_mut() {
            Some((last, same)) if *same == weight => last.push_str(&text),
            _ => merged.push((text, weight)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Vec<(String, f32)> {
        weighted_parts(text)
    }

    fn part(text: &str, weight: f32) -> (String, f32) {
        (text.to_owned(), weight)
    }

    #[test]
    fn brackets_weigh_what_is_inside() {
        assert_eq!(parts("plain words"), [part("plain words", 1.0)]);
        assert_eq!(
            parts("a (bright) room"),
            [part("a ", 1.0), part("bright", 1.1), part(" room", 1.0)]
        );
        assert_eq!(parts("[dark]"), [part("dark", 1.0 / 1.1)]);
        assert_eq!(parts("(warm light:1.3)"), [part("warm light", 1.3)]);
        assert_eq!(parts("(warm: 0.5 ) x"), [part("warm", 0.5), part(" x", 1.0)]);
        assert_eq!(parts("(a (b))"), [part("a ", 1.1), part("b", 1.1 * 1.1)]);
    }

    #[test]
    fn what_is_no_syntax_stays_text() {
        assert_eq!(parts(r"a \(b\) \\ c"), [part(r"a (b) \ c", 1.0)]);
        assert_eq!(parts("16:9 at 10:30)"), [part("16:9 at 10:30)", 1.0)]);
        assert_eq!(parts("(ratio 16:nine)"), [part("ratio 16:nine", 1.1)]);
        assert_eq!(parts("a ] b )"), [part("a ] b )", 1.0)]);
        assert_eq!(parts("(open"), [part("open", 1.1)]);
        assert!(parts("").is_empty());
        assert!(parts("()").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_text_without_syntax_is_kept(text in "[^\\\\()\\[\\]]{0,40}", wild in "\\PC{0,40}") {
            let kept: String = parts(&text).into_iter().map(|part| part.0).collect();
            prop_assert_eq!(kept, text);
            prop_assert!(parts(&wild).iter().all(|part| part.1.is_finite()));
        }
    }
}

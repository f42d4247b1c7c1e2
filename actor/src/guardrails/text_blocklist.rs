//! Words and phrases that no description may have.
//!
//! Compared are whole words, as Unicode's text segmentation finds them (UAX #29), whatever their case, width or accents'
//! encoding: "art" is not in "party", "STRASSE" is "Straße", and in Chinese each character is a word. What stands between
//! words does not count. Inflected forms are words of their own: the list names those that it means.

use super::{GuardrailError, Guards, TEXT_BLOCKLIST};
use common::{Barred, Digest, Guardrail};
use icu_normalizer::ComposingNormalizerBorrowed;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use unicode_segmentation::UnicodeSegmentation;

/// The largest list that is read, in bytes: a hundred thousand phrases, and no file that was named by mistake.
const MAX_LIST_BYTES: u64 = 4 << 20;

/// What no description may say.
#[derive(Debug)]
pub(super) struct TextBlocklist {
    /// The phrases by their first word, each without it.
    phrases: HashMap<String, Vec<Vec<String>>>,
    /// Of what it lists, and not of how that lies there: of its lines, each once and ended by a line break, in the order of their bytes.
    digest: Digest,
}

impl TextBlocklist {
    /// Reads a list: UTF-8, a word or phrase a line; empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// [`GuardrailError`] for a file that cannot be read or is too large, and for a line without a word.
    pub(super) fn read(path: &Path) -> Result<Self, GuardrailError> {
        let unreadable = |source| GuardrailError::File {
            path: path.to_owned(),
            source,
        };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > MAX_LIST_BYTES {
            return Err(GuardrailError::TooLarge {
                path: path.to_owned(),
                bytes,
                most: MAX_LIST_BYTES,
            });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let list = Self::parse(&text).map_err(|(line, text)| GuardrailError::NoWord {
            path: path.to_owned(),
            line,
            text,
        })?;
        match list.phrases.is_empty() {
            true => Err(GuardrailError::Empty {
                path: path.to_owned(),
            }),
            false => Ok(list),
        }
    }

    /// The list of this text, or the number and the text of a line without a word.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut phrases: HashMap<String, Vec<Vec<String>>> = HashMap::new();
        let mut listed = BTreeSet::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = words(line).into_iter();
            let first = words.next().ok_or_else(|| (number, line.to_owned()))?;
            phrases.entry(first).or_default().push(words.collect());
            listed.insert(line);
        }
        let listed: String = listed.into_iter().flat_map(|line| [line, "\n"]).collect();
        let digest = store::digest(listed.as_bytes());
        Ok(Self { phrases, digest })
    }

    /// The first listed phrase of a text.
    fn find(&self, text: &str) -> Option<String> {
        let words = words(text);
        let phrase_at = |at: usize| {
            let (first, behind) = (&words[at], &words[at + 1..]);
            let listed = self.phrases.get(first)?;
            let rest = listed.iter().find(|rest| behind.starts_with(rest))?;
            Some([std::slice::from_ref(first), rest].concat().join(" "))
        };
        (0..words.len()).find_map(phrase_at)
    }
}

impl Guards for TextBlocklist {
    fn of_description(&self, description: &str) -> Option<Barred> {
        let phrase = self.find(description)?;
        tracing::debug!(phrase, description, "a description has a listed phrase");
        Some(Barred {
            guardrail: Guardrail::TextBlocklist,
            measured: None,
        })
    }

    fn list(&self) -> Option<(&'static str, Digest)> {
        Some((TEXT_BLOCKLIST, self.digest))
    }
}

/// The words of a text, such that words that are to be taken for the same are the same.
fn words(text: &str) -> Vec<String> {
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let compatible = normalizer.normalize(text);
    // Through upper case, for a letter may have several lower forms, or none of its own.
    let folded: String = compatible
        .chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    let folded = normalizer.normalize(&folded);
    folded.unicode_words().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str) -> TextBlocklist {
        TextBlocklist::parse(text).unwrap()
    }

    #[test]
    fn whole_words_are_found_whatever_their_case_width_or_encoding() {
        let list = list("# alcohol\nart\nbeer garden\nStraße\ncafé\nΟΔΟΣ\n啤酒\n\nno. 1\n");
        for text in [
            "Modern ART, oak desk",
            "(art)",
            "a Beer\u{a0}Garden at dusk",
            "beer - garden",
            "in the STRASSE",
            "cafe\u{301} table",
            "ＡＲＴ deco",
            "οδός, οδος",
            "一瓶啤酒在桌上",
            "the no 1 choice",
        ] {
            assert!(list.find(text).is_some(), "{text}");
        }
        for text in [
            "party lights",
            "beer, wine and a garden",
            "garden beer",
            "cafe table",
            "beer",
            "啤 or not",
            "酒啤",
            "",
        ] {
            assert_eq!(list.find(text), None, "{text}");
        }
        assert_eq!(list.find("The Beer\nGarden").unwrap(), "beer garden");
    }

    #[test]
    fn a_line_without_a_word_is_named_and_so_is_a_file_that_is_none() {
        assert_eq!(
            TextBlocklist::parse("beer\n!!!\n").unwrap_err(),
            (2, "!!!".to_owned())
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words.txt");
        let refusal = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            common::with_causes(&TextBlocklist::read(&path).unwrap_err())
        };
        for (content, says) in [
            (&b"# nothing yet\n"[..], "names nothing"),
            (b"beer\n--\n", "line 2"),
            (b"b\xff\n", "UTF-8"),
        ] {
            let refusal = refusal(content);
            assert!(
                refusal.contains(says) && refusal.contains("words.txt"),
                "{refusal}"
            );
        }
        let absent = TextBlocklist::read(&directory.path().join("absent.txt")).unwrap_err();
        assert!(absent.to_string().contains("absent.txt"), "{absent}");
        let large = "word\n".repeat(1 << 20);
        assert!(refusal(large.as_bytes()).contains("4194304"));
        std::fs::write(&path, "\u{feff}beer\r\nwine\r\n").unwrap();
        assert!(TextBlocklist::read(&path).unwrap().find("Beer").is_some());
    }

    #[test]
    fn a_list_is_the_same_that_lists_the_same() {
        let digest = |text: &str| list(text).digest;
        assert_eq!(digest("wine\nbeer\n"), store::digest(b"beer\nwine\n"));
        assert_eq!(
            digest("\u{feff}# drinks\r\nbeer\r\n\r\n wine\r\nbeer"),
            digest("wine\nbeer")
        );
        assert_ne!(digest("wine\nbeer garden"), digest("wine\nbeer\ngarden"));
    }

    proptest! {
        /// A listed phrase is found in any text that it stands in by itself, in any case.
        #[test]
        fn what_is_listed_is_found(before in "\\PC{0,20}", phrase in "[a-zäßμσǆİ]{1,6}( [a-zé]{1,6}){0,2}", after in "\\PC{0,20}") {
            let list = list(&phrase);
            for phrase in [phrase.clone(), phrase.to_uppercase()] {
                let text = format!("{before} / {phrase} / {after}");
                prop_assert!(list.find(&text).is_some(), "{}", text);
            }
        }
    }
}

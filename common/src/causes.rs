//! An error as people read it on one line.

use std::error::Error;

/// An error and its causes in one line, without what a cause only repeats.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: Option<Box<Told>>,
    }

    fn told(texts: &[&'static str]) -> Told {
        let source = (texts.len() > 1).then(|| Box::new(told(&texts[1..])));
        let text = texts[0];
        Told { text, source }
    }

    #[test]
    fn every_cause_is_said_and_none_twice() {
        let said = |texts: &[&'static str]| with_causes(&told(texts));
        assert_eq!(said(&["cannot join"]), "cannot join");
        assert_eq!(
            said(&["cannot join", "transport error", "refused"]),
            "cannot join: transport error: refused"
        );
        assert_eq!(
            said(&["it said: refused", "refused", "by it"]),
            "it said: refused: by it"
        );
    }
}

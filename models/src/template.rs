//! The words around an instruction: one value, stored with the model, used alike by whoever samples and whoever trains.
//!
//! The reference implementation samples with one template and trains with another; here there is only one to use.

use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// `{system}{user}[<image>{image_separator}]{instruction}{assistant}`; the completion follows immediately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptTemplate {
    /// Said once at the beginning.
    pub system: String,
    /// Before the user's turn.
    pub user: String,
    /// Between image and instruction.
    pub image_separator: String,
    /// After the user's turn.
    pub assistant: String,
}

/// Where the image goes in a template that is written out.
const IMAGE: &str = "<image>";

/// Where the instruction goes in a template that is written out.
const INSTRUCTION: &str = "{instruction}";

impl PromptTemplate {
    /// A template by name, `vicuna_v1` or `short`, or written out: a text with one `<image>` and, behind it, one
    /// `{instruction}`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        match text {
            "vicuna_v1" => return Ok(Self::vicuna_v1()),
            "short" => return Ok(Self::short()),
            _ => {}
        }
        let once = |part: &str| text.matches(part).count() == 1;
        let parts = text
            .split_once(IMAGE)
            .and_then(|(before, rest)| Some((before, rest.split_once(INSTRUCTION)?)));
        match parts {
            Some((before, (between, after))) if once(IMAGE) && once(INSTRUCTION) => Ok(Self {
                system: String::new(),
                user: before.into(),
                image_separator: between.into(),
                assistant: after.into(),
            }),
            _ => Err(ModelError::Config {
                key: "template",
                value: format!("{text:?}"),
                expected: "vicuna_v1, short, or a text with one <image> and, behind it, one {instruction}",
            }),
        }
    }

    /// For tiny models, to which every token is a cost: the instruction and a line break.
    pub fn short() -> Self {
        Self {
            system: String::new(),
            user: String::new(),
            image_separator: String::new(),
            assistant: "\n".into(),
        }
    }

    /// LLaVA's on Vicuna: `conv_vicuna_v1` of the LLaVA repository, the chat template of transformers' checkpoints.
    pub fn vicuna_v1() -> Self {
        Self {
            system: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, \
                     detailed, and polite answers to the user's questions."
                .into(),
            user: " USER: ".into(),
            image_separator: "\n".into(),
            assistant: " ASSISTANT:".into(),
        }
    }

    /// The prompt without an image.
    pub fn without_image(&self, instruction: &str) -> String {
        format!("{}{}{instruction}{}", self.system, self.user, self.assistant)
    }

    /// The prompt with an image, cut where the image goes.
    pub fn around_image(&self, instruction: &str) -> (String, String) {
        let before = format!("{}{}", self.system, self.user);
        let after = format!("{}{instruction}{}", self.image_separator, self.assistant);
        (before, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vicuna() -> PromptTemplate {
        PromptTemplate {
            system: "A chat.".into(),
            ..PromptTemplate::vicuna_v1()
        }
    }

    #[test]
    fn vicuna_renders_as_llava_was_trained() {
        let (before, after) = vicuna().around_image("What is this?");
        assert_eq!(
            format!("{before}<image>{after}"),
            "A chat. USER: <image>\nWhat is this? ASSISTANT:"
        );
    }

    #[test]
    fn a_template_can_be_written_out() {
        let written = PromptTemplate::parse("Be brief. USER: <image>\n{instruction} ASSISTANT:").unwrap();
        let named = PromptTemplate {
            system: "Be brief.".into(),
            ..PromptTemplate::vicuna_v1()
        };
        assert_eq!(written.around_image("Hm?"), named.around_image("Hm?"));
        assert_eq!(written.without_image("Hm?"), named.without_image("Hm?"));
        assert_eq!(
            PromptTemplate::parse("vicuna_v1").unwrap(),
            PromptTemplate::vicuna_v1()
        );
        assert_eq!(PromptTemplate::parse("short").unwrap(), PromptTemplate::short());
    }

    #[test]
    fn a_text_that_is_no_template_says_what_would_be_one() {
        for text in [
            "",
            "vicuna",
            "<image>",
            "{instruction} <image>",
            "<image><image>{instruction}",
            "<image>{instruction}{instruction}",
        ] {
            let message = PromptTemplate::parse(text).unwrap_err().to_string();
            assert!(message.contains("one <image>"), "{message}");
        }
    }

    #[test]
    fn without_an_image_placeholder_and_separator_are_absent() {
        assert_eq!(vicuna().without_image("Hello"), "A chat. USER: Hello ASSISTANT:");
    }
}

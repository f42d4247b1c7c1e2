//! The words around an instruction: one value, stored with the model, used alike by whoever samples and whoever trains.
//!
//! The reference implementation samples with one template and trains with another; here there is only one to use.

use serde::{Deserialize, Serialize};

/// Where the image goes in a rendered prompt.
pub const IMAGE_PLACEHOLDER: &str = "<image>";

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

impl PromptTemplate {
    /// LLaVA 1.5 and 1.6 on Vicuna (`conv_vicuna_v1` of the LLaVA repository).
    pub fn vicuna_v1() -> Self {
        Self {
            system:
                "A chat between a curious user and an artificial intelligence assistant. The assistant gives \
                     helpful, detailed, and polite answers to the user's questions."
                    .into(),
            user: " USER: ".into(),
            image_separator: "\n".into(),
            assistant: " ASSISTANT:".into(),
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

    /// The whole prompt as text.
    pub fn render(&self, instruction: &str, has_image: bool) -> String {
        let (before, after) = self.around_image(instruction);
        let placeholder = if has_image { IMAGE_PLACEHOLDER } else { "" };
        let after = if has_image {
            after
        } else {
            after[self.image_separator.len()..].to_owned()
        };
        format!("{before}{placeholder}{after}")
    }

    /// The prompt with an image, cut where the image goes.
    pub fn around_image(&self, instruction: &str) -> (String, String) {
        let before = format!("{}{}", self.system, self.user);
        (
            before,
            format!("{}{instruction}{}", self.image_separator, self.assistant),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vicuna_renders_as_llava_was_trained() {
        let rendered = PromptTemplate::vicuna_v1().render("What is this?", true);
        let expected = "A chat between a curious user and an artificial intelligence assistant. The assistant gives \
                        helpful, detailed, and polite answers to the user's questions. USER: <image>\nWhat is this? \
                        ASSISTANT:";
        assert_eq!(rendered, expected);
    }

    #[test]
    fn without_an_image_placeholder_and_separator_are_absent() {
        let rendered = PromptTemplate::vicuna_v1().render("Hello", false);
        assert!(
            rendered.ends_with("questions. USER: Hello ASSISTANT:"),
            "{rendered}"
        );
    }

    #[test]
    fn the_halves_around_the_image_make_the_whole() {
        let template = PromptTemplate::vicuna_v1();
        let (before, after) = template.around_image("x");
        assert_eq!(
            format!("{before}{IMAGE_PLACEHOLDER}{after}"),
            template.render("x", true)
        );
    }
}

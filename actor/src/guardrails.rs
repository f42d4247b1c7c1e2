//! What keeps a candidate from being used: checks of its description before anything is rendered.
//!
//! What a guardrail finds is recorded with the candidate, which then has no reward and is never a loser. The first that finds
//! something is the one that is named.

mod config;
mod text_blocklist;

pub use config::GuardrailsConfig;

use common::{Barred, Guardrail};
use std::path::PathBuf;
use text_blocklist::TextBlocklist;

/// One guardrail.
trait Guards: Send + Sync {
    /// What bars a description, so that it is not rendered.
    fn of_description(&self, description: &str) -> Option<Barred>;
}

/// The guardrails of an actor, in the order in which they are asked.
#[derive(Default)]
pub(crate) struct Guardrails {
    all: Vec<Box<dyn Guards>>,
}

/// A guardrail that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GuardrailError {
    /// A list cannot be read.
    #[error("cannot read the blocklist {}; expected UTF-8 text", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A list is larger than any list should be.
    #[error("the blocklist {} has {bytes} bytes, expected at most {most}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest that is read.
        most: u64,
    },
    /// A list names nothing.
    #[error("the blocklist {} has no word; leave its key empty to have no list", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line of a list names nothing.
    #[error("the blocklist {}, line {line}: {text:?} has no word; lines that begin with # are comments", path.display())]
    NoWord {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

impl Guardrails {
    /// Those of a checked configuration.
    ///
    /// # Errors
    /// [`GuardrailError`] when a list cannot be used.
    pub(crate) fn open(config: &GuardrailsConfig) -> Result<Self, GuardrailError> {
        let mut all: Vec<Box<dyn Guards>> = vec![];
        if let Some(path) = config.text_blocklist() {
            all.push(Box::new(TextBlocklist::read(path)?));
        }
        Ok(Self { all })
    }

    /// What bars a description, so that it is not rendered.
    pub(crate) fn of_description(&self, description: &str) -> Option<Barred> {
        self.all
            .iter()
            .find_map(|guards| guards.of_description(description))
    }
}

/// What a description barred by the generator itself amounts to.
pub(crate) fn of_no_image(reason: &data::NoImage) -> Barred {
    let guardrail = match reason {
        data::NoImage::Description(_) => Guardrail::Description,
        data::NoImage::Withheld(_) => Guardrail::Withheld,
        data::NoImage::Invalid(_) => Guardrail::Undecodable,
    };
    Barred {
        guardrail,
        measured: None,
    }
}

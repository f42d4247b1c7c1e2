//! Why a guardrail cannot be set up.

use data::CutoutError;
use imaging::ImagingError;
use std::path::PathBuf;

/// A configured list that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}")]
pub struct UnusableList {
    /// The key that names it.
    pub key: &'static str,
    /// Why.
    #[source]
    pub reason: GuardrailError,
}

/// A guardrail that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GuardrailError {
    /// A list of phrases cannot be read.
    #[error("cannot read the blocklist {}; expected UTF-8 text", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A list of pictures cannot be read.
    #[error("cannot read the blocklist {}; expected a directory of pictures", path.display())]
    Directory {
        /// The directory, or a file of it.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A listed picture is none.
    #[error("the blocklist's {} is no picture that can be read", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CutoutError,
    },
    /// A listed picture has no hash.
    #[error("the blocklist's {} cannot be compared with others", path.display())]
    Unmeasured {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ImagingError,
    },
    /// A file is larger than any list or picture should be.
    #[error("the blocklist's {} has {bytes} bytes, expected at most {most}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest that is read.
        most: u64,
    },
    /// A list names nothing.
    #[error("the blocklist {} names nothing; leave its key empty to have no list", path.display())]
    Empty {
        /// The file, or the directory.
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

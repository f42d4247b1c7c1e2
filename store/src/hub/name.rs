//! What a hub calls a model.

use std::fmt;
use std::str::FromStr;

/// What a hub's models begin with in configurations and arguments.
const SCHEME: &str = "hf:";

/// The revision of a model whose name has none.
const MAIN: &str = "main";

/// The longest part of a repository's name, in characters, as huggingface.co has it.
const NAME_LENGTH: usize = 96;

/// The longest name of a branch or a tag, in characters.
const REVISION_LENGTH: usize = 200;

/// A model of a hub at a revision: `hf:org/name@revision`, where the revision is a branch, a tag or a commit, and `main` when
/// nothing is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    repository: String,
    revision: String,
}

/// A text that is no model of a hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no model of a hub: expected hf:org/name@revision, with a branch, a tag or a commit")]
pub struct NoHubModel {
    /// What was given, cut to 200 characters.
    pub given: String,
}

impl HubModel {
    /// Whether a text means a hub's model rather than a path or another URL.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// `org/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The branch, the tag or the commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a commit, which never means anything else later.
    pub fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }

    pub(super) fn at_commit(&self, commit: String) -> Self {
        Self {
            repository: self.repository.clone(),
            revision: commit,
        }
    }
}

/// Whether a text is a whole commit of git.
pub(super) fn is_commit(text: &str) -> bool {
    crate::checksum::from_hex::<20>(text).is_some()
}

impl FromStr for HubModel {
    type Err = NoHubModel;

    fn from_str(text: &str) -> Result<Self, NoHubModel> {
        let fault = || NoHubModel {
            given: text.chars().take(200).collect(),
        };
        let name = text.strip_prefix(SCHEME).ok_or_else(fault)?;
        let (repository, revision) = name.split_once('@').unwrap_or((name, MAIN));
        let parts: Vec<&str> = repository.split('/').collect();
        let fine = parts.len() <= 2 && parts.iter().all(|part| is_part(part)) && is_revision(revision);
        fine.then(|| Self {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        })
        .ok_or_else(fault)
    }
}

fn is_part(part: &str) -> bool {
    let odd_end = |end: char| end == '.' || end == '-';
    (1..=NAME_LENGTH).contains(&part.len())
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !part.starts_with(odd_end)
        && !part.ends_with(odd_end)
        && !part.contains("..")
}

fn is_revision(revision: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains("..");
    revision.len() <= REVISION_LENGTH
        && revision
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-+/".contains(c))
        && revision.split('/').all(is_part)
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.repository, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_repository_and_a_revision_which_is_main_by_default() {
        let commit = "b234b804b114d9e37bb655e11cbbb5f5e971b7a9";
        for (text, repository, revision, is_commit) in [
            (
                "hf:llava-hf/llava-1.5-7b-hf",
                "llava-hf/llava-1.5-7b-hf",
                "main",
                false,
            ),
            ("hf:a/b@refs/pr/1", "a/b", "refs/pr/1", false),
            ("hf:gpt2@v1.0", "gpt2", "v1.0", false),
            (&format!("hf:a/b@{commit}"), "a/b", commit, true),
        ] {
            let model: HubModel = text.parse().unwrap();
            assert_eq!((model.repository(), model.revision()), (repository, revision));
            assert_eq!(model.is_commit(), is_commit);
            assert_eq!(model.to_string().parse(), Ok(model));
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_model() {
        let long = format!("hf:{}/b", "a".repeat(97));
        for text in [
            "a/b",
            "hf:",
            "hf:/b",
            "hf:a/",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:a/b@x/../y",
            "hf:a/b@x?y",
            "hf:a/b?x",
            "hf:a b",
            "hf:a/b@x@y",
            "hf:a/b@/x",
            "hf:user:word@host/x",
            &long,
        ] {
            assert!(text.parse::<HubModel>().is_err(), "{text}");
        }
    }
}

//! The frozen base model as the files that actors fetch: a directory of ours, whatever layout the learner read.
//!
//! The description is made from the policy as the learner reads it, so that prompts and pictures are read alike by who
//! samples and who trains; the weights are the files on disk.

use crate::error::LearnerError;
use common::{Artifact, Digest};
use models::checkpoint::{WeightFile, weight_files};
use models::policy::Policy;
use proto::artifact_stream::Source;
use std::path::Path;

/// The files of `policy`, whose weights lie in `directory`, by name.
///
/// # Errors
/// [`LearnerError::Policy`] when the directory is none of a policy, [`LearnerError::File`] naming the file that cannot be
/// read.
pub(crate) fn base_files(policy: &Policy, directory: &Path) -> Result<Vec<(Artifact, Source)>, LearnerError> {
    let mut files = vec![];
    for (name, content) in policy.described()? {
        let artifact = store::artifact_of(name, &content);
        let artifact = artifact.map_err(std::io::Error::other);
        let artifact = artifact.map_err(LearnerError::file("offer", Path::new(name)))?;
        files.push((artifact, Source::Memory(content.into())));
    }
    for WeightFile { name, path } in weight_files(directory).map_err(LearnerError::Policy)? {
        let artifact = store::artifact_of_file(&name, &path).map_err(LearnerError::file("read", &path))?;
        files.push((artifact, Source::File(path)));
    }
    files.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
    Ok(files)
}

/// One digest for all of a base's files: of their names and digests, in the order of the names.
pub(crate) fn base_digest(files: &[(Artifact, Source)]) -> Digest {
    let mut whole = blake3::Hasher::new();
    for (artifact, _) in files {
        whole
            .update(artifact.name().as_bytes())
            .update(&[0])
            .update(artifact.digest().as_bytes());
    }
    Digest::from_bytes(*whole.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_policy::policy;
    use burn::tensor::Device;
    use models::policy::PolicyReading;
    use models::template::PromptTemplate;

    /// Puts the files where an actor would.
    fn fetched(files: &[(Artifact, Source)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (artifact, source) in files {
            let bytes = match source {
                Source::Memory(bytes) => bytes.to_vec(),
                Source::File(path) => std::fs::read(path).unwrap(),
            };
            assert_eq!(
                (artifact.bytes(), artifact.digest()),
                (bytes.len() as u64, store::digest(&bytes))
            );
            std::fs::write(directory.path().join(artifact.name()), bytes).unwrap();
        }
        directory
    }

    #[test]
    fn an_actor_reads_the_policy_as_the_learner_does_and_gets_nothing_else_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        policy().save(directory.path()).unwrap();
        for name in [".lock", "my notes.txt", "id_rsa"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let template = PromptTemplate::parse("Q: <image> {instruction} A:").unwrap();
        let read = Policy::load(directory.path(), &Device::flex())
            .unwrap()
            .read_as(&PolicyReading {
                template: Some(template.clone()),
                ..PolicyReading::default()
            });
        let files = base_files(&read, directory.path()).unwrap();
        let names: Vec<_> = files.iter().map(|(artifact, _)| artifact.name()).collect();
        assert_eq!(
            names,
            [
                "adwright.json",
                "config.json",
                "model.safetensors",
                "tokenizer.json"
            ]
        );
        let actor = Policy::load(fetched(&files).path(), &Device::flex()).unwrap();
        assert_eq!(actor.template, template);
        let ids = |policy: &Policy| policy.prompt_ids("a lamp", true).unwrap();
        assert_eq!(ids(&actor), ids(&read));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let refusal = base_files(&policy(), Path::new("/nonexistent/policy")).unwrap_err();
        assert!(refusal.to_string().contains("/nonexistent/policy"));
    }
}

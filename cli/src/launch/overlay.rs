//! The overlay that is written: `kustomization.yaml` and the keys that were set, nothing else.

use super::configured::{CONFIG_MAP, is_added};
use super::kustomization::read;
use super::patches::{Patch, patches};
use super::ways;
use anyhow::{Context as _, anyhow};
use common::RunId;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

/// How a kustomization begins that may be replaced.
const MARK: &str = "# Written by `adwright launch`";

/// The roles' image, as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Image {
    /// Parses `name`, `name:tag`, `name@sha256:...`.
    ///
    /// # Errors
    /// When it is none that a node could pull.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash is a registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let right = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        let image = right.then(|| Self {
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        });
        image.with_context(|| {
            format!(
                "--image {text:?}: expected NAME:TAG or NAME@sha256:DIGEST, such as registry.example/adwright:1.2; a name in lower case, a digest of \
                 64 digits"
            )
        })
    }
}

/// Parts in lower case between slashes, each of which begins and ends with a letter or a digit; the first perhaps a registry with its port.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_part = |part: &str| {
        let inner = part.chars().all(|c| plain(c) || "._-".contains(c));
        inner && part.starts_with(plain) && part.ends_with(plain)
    };
    let is_registry = |first: &str| match first.split_once(':') {
        Some((host, port)) => is_part(host) && port.parse::<u16>().is_ok(),
        None => is_part(first),
    };
    match text.split_once('/') {
        Some((first, rest)) => is_registry(first) && rest.split('/').all(is_part),
        None => is_part(text),
    }
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(word) && text.chars().all(|c| word(c) || ".-".contains(c))
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// A file that is added to the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    /// Its name, which comes after those of the files below.
    pub(crate) name: String,
    /// The keys that were set, as TOML.
    pub(crate) text: String,
}

/// What is written.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    /// The overlay that it builds on.
    pub(crate) base: PathBuf,
    /// Nothing, where no key was set.
    pub(crate) added: Option<Added>,
    /// The run's name where certificates are to have it: another one than the overlay below.
    pub(crate) run: Option<RunId>,
    /// Namespace of all objects.
    pub(crate) namespace: Option<String>,
    /// By which name the image goes below, and what it becomes.
    pub(crate) image: Option<(String, Image)>,
    /// What else of the manifests the configuration needs otherwise.
    pub(crate) fitting: Vec<Patch>,
    /// Policies that it needs beside those of the manifests, as YAML.
    pub(crate) policies: Option<String>,
}

impl Overlay {
    /// Writes it into a directory, which is made.
    ///
    /// # Errors
    /// When the directory holds something else, or cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        check_ours(directory)?;
        let cannot = || format!("cannot write {}", directory.display());
        std::fs::create_dir_all(directory).with_context(cannot)?;
        let base = relative(directory, &self.base)?;
        forget(directory).with_context(cannot)?;
        if let Some(added) = &self.added {
            std::fs::write(directory.join(&added.name), &added.text).with_context(cannot)?;
        }
        if let Some(policies) = &self.policies {
            std::fs::write(directory.join(ways::FILE), policies).with_context(cannot)?;
        }
        std::fs::write(directory.join("kustomization.yaml"), self.kustomization(&base)).with_context(cannot)
    }

    fn kustomization(&self, base: &str) -> String {
        let mut text = format!(
            "{MARK}, which replaces it when it is called again.\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        );
        // A string takes whatever is written.
        if let Some(namespace) = &self.namespace {
            writeln!(text, "namespace: {}", quoted(namespace)).ok();
        }
        writeln!(text, "resources:\n  - {}", quoted(base)).ok();
        if self.policies.is_some() {
            writeln!(text, "  - {}", ways::FILE).ok();
        }
        if let Some(Added { name, .. }) = &self.added {
            writeln!(
                text,
                "configMapGenerator:\n  - name: {CONFIG_MAP}\n    behavior: merge\n    files: [{name}]"
            )
            .ok();
        }
        if let Some((known, image)) = &self.image {
            writeln!(
                text,
                "images:\n  - name: {}\n    newName: {}",
                quoted(known),
                quoted(&image.name)
            )
            .ok();
            for (key, value) in [("newTag", &image.tag), ("digest", &image.digest)] {
                if let Some(value) = value {
                    writeln!(text, "    {key}: {}", quoted(value)).ok();
                }
            }
        }
        text + &patches(self.run.as_ref(), self.namespace.as_deref(), &self.fitting)
    }
}

/// A text as JSON has it, which is YAML's too.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Only nothing, or what an earlier call wrote, is replaced.
fn check_ours(directory: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot use {}", directory.display())),
    };
    let earlier = std::fs::read_to_string(directory.join("kustomization.yaml")).unwrap_or_default();
    match earlier.starts_with(MARK) || entries.count() == 0 {
        true => Ok(()),
        false => Err(anyhow!(
            "{} holds something that launch did not write; name another directory with --out",
            directory.display()
        )),
    }
}

/// Takes away the configuration and the policies that an earlier call wrote; the configuration may have had another name.
fn forget(directory: &Path) -> anyhow::Result<()> {
    if !directory.join("kustomization.yaml").is_file() {
        return Ok(());
    }
    let earlier = read(directory, 0)?;
    let added = earlier.generators.iter().flat_map(|generator| &generator.files);
    let added = added.filter(|name| is_added(name));
    let policies = earlier.resources.iter().filter(|name| *name == ways::FILE);
    for name in added.chain(policies) {
        let file = directory.join(name);
        if file.is_file() {
            std::fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// The way from one directory to another: Kustomize takes no absolute one.
fn relative(from: &Path, to: &Path) -> anyhow::Result<String> {
    let real =
        |path: &Path| std::fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()));
    let (from, to) = (real(from)?, real(to)?);
    let shared = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to.components().skip(shared)).collect();
    let way = way.to_str().map(str::to_owned);
    way.with_context(|| format!("{}: expected a path in UTF-8", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_name_with_a_tag_or_a_digest() {
        let image = |text: &str| {
            Image::parse(text)
                .map(|image| (image.name, image.tag, image.digest))
                .ok()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            image("adwright:1.2"),
            Some(("adwright".into(), some("1.2"), None))
        );
        let digest = format!("sha256:{}", "0a".repeat(32));
        let pinned = |text: &str| image(&format!("{text}@{digest}"));
        assert_eq!(
            pinned("host:5000/adwright"),
            Some(("host:5000/adwright".into(), None, Some(digest.clone())))
        );
        assert_eq!(
            pinned("a.b/c_d/e--f:1.2-cuda"),
            Some(("a.b/c_d/e--f".into(), some("1.2-cuda"), Some(digest.clone())))
        );
        assert_eq!(
            image("host:5000/adwright"),
            Some(("host:5000/adwright".into(), None, None))
        );
        let cut = format!("adwright@{}", &digest[..digest.len() - 1]);
        for wrong in [
            "",
            ":1",
            "a b",
            "adwright:",
            "adwright@",
            "a\nb: c",
            "registry.example/Adwright:1",
            "registry.example//adwright",
            "host:port/adwright",
            "adwright-/cpu",
            "adwright:.1",
            "adwright@latest",
            &cut,
        ] {
            assert_eq!(image(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_way_to_the_manifests_is_relative() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("a/b"), root.path().join("k8s/overlays/gpu"));
        std::fs::create_dir_all(&from).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        assert_eq!(relative(&from, &to).unwrap(), "../../k8s/overlays/gpu");
    }

    #[test]
    fn what_somebody_else_has_put_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let overlay = Overlay {
            base: root.path().to_owned(),
            added: Some(Added {
                name: "20-launch.toml".into(),
                text: "[run]\nid = \"x\"\n".into(),
            }),
            run: None,
            namespace: Some("ads".into()),
            image: None,
            fitting: vec![],
            policies: Some("kind: NetworkPolicy\n".into()),
        };
        let out = root.path().join("out");
        overlay.write(&out).unwrap();
        // Once more is no harm, and leaves nothing of the earlier configuration.
        overlay.write(&out).unwrap();
        let names = || {
            let entries = std::fs::read_dir(&out).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(
            names(),
            ["20-launch.toml", "kustomization.yaml", "network-policy.yaml"]
        );
        let without = Overlay {
            added: None,
            policies: None,
            ..overlay.clone()
        };
        without.write(&out).unwrap();
        assert_eq!(names(), ["kustomization.yaml"]);
        let theirs = root.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("kustomization.yaml"), "resources: []\n").unwrap();
        assert!(overlay.write(&theirs).unwrap_err().to_string().contains("--out"));
    }
}

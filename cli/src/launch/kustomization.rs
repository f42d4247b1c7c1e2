//! The little that is read of Kustomize's files: what an overlay builds on, what it generates, and by which name its image goes.

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The image of all roles, before an overlay names it otherwise.
const IMAGE: &str = "adwright";

/// Overlays build on each other, never this deep.
const MAX_DEPTH: usize = 16;

/// A directory of manifests: `base/`, `components/`, `overlays/`.
#[derive(Debug, Clone)]
pub(crate) struct Manifests {
    root: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kustomization {
    namespace: Option<String>,
    pub(super) resources: Vec<String>,
    pub(super) components: Vec<String>,
    pub(super) patches: Vec<Patched>,
    #[serde(rename = "configMapGenerator")]
    pub(super) generators: Vec<Generator>,
    images: Vec<Renamed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Generator {
    pub(super) name: String,
    pub(super) behavior: String,
    pub(super) files: Vec<String>,
}

/// A patch: one that the kustomization holds itself has no path.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Patched {
    pub(super) path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Renamed {
    name: String,
    new_name: Option<String>,
}

impl Manifests {
    /// The manifests of a directory.
    ///
    /// # Errors
    /// When it has no overlays.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        let found = root.join("overlays").is_dir();
        let opened = found.then(|| Self {
            root: root.to_owned(),
        });
        opened.with_context(|| {
            let shown = root.display();
            format!("{shown} has no overlays/; name a checkout's k8s directory, or your copy of it, with --manifests")
        })
    }

    /// The directory of an overlay.
    ///
    /// # Errors
    /// When there is none of the name; the error lists those that there are.
    pub(crate) fn overlay(&self, name: &str) -> anyhow::Result<PathBuf> {
        let known = self.overlays()?;
        match known.iter().any(|overlay| overlay == name) {
            true => Ok(self.root.join("overlays").join(name)),
            false => Err(anyhow!(
                "there is no overlay {name:?}; there are {}",
                known.join(", ")
            )),
        }
    }

    fn overlays(&self) -> anyhow::Result<Vec<String>> {
        let place = self.root.join("overlays");
        let entries =
            std::fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))?;
        let overlays = entries
            .flatten()
            .filter(|entry| entry.path().join("kustomization.yaml").is_file());
        let mut names: Vec<String> = overlays
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// The name by which an overlay that builds on this one finds the roles' image.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn image_of(overlay: &Path) -> anyhow::Result<String> {
    image_within(overlay, 0)
}

fn image_within(directory: &Path, depth: usize) -> anyhow::Result<String> {
    let read = read(directory, depth)?;
    let mut name = IMAGE.to_owned();
    for below in directories(directory, &read) {
        let found = image_within(&below, depth + 1)?;
        if found != IMAGE {
            name = found;
        }
    }
    let renamed = read.images.iter().find(|image| image.name == name);
    Ok(renamed.and_then(|image| image.new_name.clone()).unwrap_or(name))
}

/// The namespace of an overlay's objects, where it says one.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn namespace_of(overlay: &Path) -> anyhow::Result<Option<String>> {
    namespace_within(overlay, 0)
}

fn namespace_within(directory: &Path, depth: usize) -> anyhow::Result<Option<String>> {
    let read = read(directory, depth)?;
    if read.namespace.is_some() {
        return Ok(read.namespace);
    }
    for below in directories(directory, &read) {
        if let Some(namespace) = namespace_within(&below, depth + 1)? {
            return Ok(Some(namespace));
        }
    }
    Ok(None)
}

pub(super) fn read(directory: &Path, depth: usize) -> anyhow::Result<Kustomization> {
    let path = directory.join("kustomization.yaml");
    let shown = path.display();
    if depth > MAX_DEPTH {
        return Err(anyhow!("{shown}: overlays build on each other in a circle"));
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
    serde_saphyr::from_str(&text).map_err(|error| anyhow!("{shown} is no kustomization: {error}"))
}

/// The directories that a kustomization builds on.
pub(super) fn directories(directory: &Path, read: &Kustomization) -> impl Iterator<Item = PathBuf> {
    below(directory, &read.resources).filter(|path| path.is_dir())
}

/// Those of the names in a kustomization that are files and directories here; others are addresses.
pub(super) fn below(directory: &Path, names: &[String]) -> impl Iterator<Item = PathBuf> {
    let named = names.iter().filter(|name| !name.contains("://"));
    named
        .map(|name| directory.join(name))
        .filter(|path| path.exists())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A base with a configuration, `plain` that adds nothing, `own` with a component, a configuration and an image of its own, and `apart` that
    /// takes no configuration but its own.
    pub(in crate::launch) fn manifests(root: &Path) {
        let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
        let files = [
            (
                "base/kustomization.yaml",
                format!(
                    "{head}namespace: adwright\nresources: [role.yaml]\nconfigMapGenerator:\n  - name: adwright-config\n    files: [10-base.toml, notes.md]\nimages:\n  - {{name: adwright, newTag: \"0.1.0\"}}\n"
                ),
            ),
            ("base/role.yaml", ROLE.to_owned()),
            ("base/10-base.toml", "[run]\nid = \"demo\"\n".to_owned()),
            ("base/notes.md", String::new()),
            (
                "part/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nconfigMapGenerator:\n  - name: adwright-config\n    behavior: merge\n    files: [15-part.toml]\n".to_owned(),
            ),
            ("part/15-part.toml", "[run]\nseed = 3\n".to_owned()),
            (
                "overlays/plain/kustomization.yaml",
                format!("{head}namespace: adwright\nresources: [../../base]\n"),
            ),
            (
                "overlays/own/kustomization.yaml",
                format!(
                    "{head}namespace: adwright\nresources: [../../base]\ncomponents: [../../part]\nconfigMapGenerator:\n  - name: adwright-config\n    behavior: merge\n    files: [20-own.toml=mine.toml]\nimages:\n  - name: adwright\n    newName: registry.example/adwright\n"
                ),
            ),
            (
                "overlays/own/mine.toml",
                "# Ours.\n[run]\nid = \"own\"\n[learner]\nversions = 7\n".to_owned(),
            ),
            (
                "overlays/apart/kustomization.yaml",
                format!(
                    "{head}namespace: adwright\nresources: [../own]\nconfigMapGenerator:\n  - name: adwright-config\n    behavior: replace\n    files: [config.toml]\n"
                ),
            ),
            ("overlays/apart/config.toml", String::new()),
        ];
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    const ROLE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: adwright-actor}
spec:
  selector: {matchLabels: {role: actor}}
  template:
    metadata: {labels: {role: actor}}
    spec:
      containers: [{name: actor, image: adwright, volumeMounts: [{name: config, mountPath: /etc/adwright}]}]
      volumes: [{name: config, configMap: {name: adwright-config}}]
";

    #[test]
    fn an_overlay_that_is_not_there_is_told_with_those_that_are() {
        let root = tempfile::tempdir().unwrap();
        manifests(root.path());
        let all = Manifests::open(root.path()).unwrap();
        let message = all.overlay("gpu").unwrap_err().to_string();
        assert!(message.contains("apart, own, plain"), "{message}");
    }

    #[test]
    fn an_image_is_found_by_the_name_that_the_overlays_give_it() {
        let root = tempfile::tempdir().unwrap();
        manifests(root.path());
        let overlay = |name: &str| image_of(&root.path().join("overlays").join(name)).unwrap();
        assert_eq!(overlay("plain"), "adwright");
        assert_eq!(overlay("own"), "registry.example/adwright");
    }

    #[test]
    fn a_namespace_is_the_outermost_one_that_is_said() {
        let root = tempfile::tempdir().unwrap();
        manifests(root.path());
        let overlay = |name: &str| namespace_of(&root.path().join(name)).unwrap();
        // `apart` says none itself, and a component has none.
        for name in ["overlays/plain", "overlays/apart"] {
            assert_eq!(overlay(name).as_deref(), Some("adwright"), "{name}");
        }
        assert_eq!(overlay("part"), None);
    }

    #[test]
    fn a_circle_and_a_directory_without_overlays_are_told() {
        let root = tempfile::tempdir().unwrap();
        assert!(
            Manifests::open(root.path())
                .unwrap_err()
                .to_string()
                .contains("--manifests")
        );
        std::fs::write(root.path().join("kustomization.yaml"), "resources: [.]\n").unwrap();
        assert!(image_of(root.path()).unwrap_err().to_string().contains("circle"));
    }
}

//! What is read of the manifests' objects: values that a configuration has to fit.

use super::kustomization::{below, read};
use anyhow::{Context as _, anyhow};
use serde_json::Value;
use std::path::Path;

/// The objects that an overlay ends with and the files that patch them, as they are written, outermost last. Patches that a kustomization
/// holds itself are not among them, nor is what comes by URL.
#[derive(Debug)]
pub(crate) struct Objects(Vec<Value>);

impl Objects {
    /// The objects of an overlay.
    ///
    /// # Errors
    /// When a file cannot be read, or is no YAML.
    pub(crate) fn of(overlay: &Path) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        collect(overlay, 0, &mut found)?;
        Ok(Self(found))
    }

    /// Whether there is an object of that kind and name.
    pub(super) fn has(&self, kind: &str, name: &str) -> bool {
        self.of_name(kind, name).next().is_some()
    }

    /// What the outermost file says of an object, of those that say something.
    pub(super) fn find<'a, T>(
        &'a self,
        kind: &str,
        name: &str,
        said: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        self.of_name(kind, name).rev().find_map(said)
    }

    fn of_name(&self, kind: &str, name: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.0
            .iter()
            .filter(move |object| object["kind"] == kind && object["metadata"]["name"] == name)
    }
}

/// In Kustomize's order: resources, components, patches.
fn collect(directory: &Path, depth: usize, found: &mut Vec<Value>) -> anyhow::Result<()> {
    let kustomization = read(directory, depth)?;
    for resource in below(directory, &kustomization.resources) {
        match resource.is_dir() {
            true => collect(&resource, depth + 1, found)?,
            false => found.extend(documents(&resource)?),
        }
    }
    for component in below(directory, &kustomization.components) {
        collect(&component, depth + 1, found)?;
    }
    let files: Vec<String> = kustomization
        .patches
        .into_iter()
        .filter_map(|patch| patch.path)
        .collect();
    for file in below(directory, &files) {
        found.extend(documents(&file)?);
    }
    Ok(())
}

fn documents(file: &Path) -> anyhow::Result<Vec<Value>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    serde_saphyr::from_multiple(&text)
        .map_err(|error| anyhow!("{shown}: expected Kubernetes objects: {error}"))
}

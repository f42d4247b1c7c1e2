//! Which configuration files the roles of an overlay mount: those of one ConfigMap, to which bases, components and overlays add.

use super::kustomization::{below, directories, read};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The ConfigMap that all roles mount.
pub(super) const CONFIG_MAP: &str = "adwright-config";

/// What a file that `launch` adds is called, after a number.
const ADDED: &str = "launch.toml";

/// The files by their names in the ConfigMap, which is the order in which they are read.
#[derive(Debug)]
pub(crate) struct Configured {
    files: BTreeMap<String, PathBuf>,
    overlay: PathBuf,
}

impl Configured {
    /// The files of an overlay.
    ///
    /// # Errors
    /// When there are none, or a kustomization cannot be read.
    pub(crate) fn of(overlay: &Path) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        collect(overlay, 0, &mut files)?;
        let shown = overlay.display();
        (!files.is_empty())
            .then(|| Self {
                files,
                overlay: overlay.to_owned(),
            })
            .with_context(|| format!("{shown} generates no ConfigMap {CONFIG_MAP} with *.toml"))
    }

    /// Where they lie, in the order in which they are read.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.files.values().cloned().collect()
    }

    /// A name for one more file, which is read after all of them.
    ///
    /// # Errors
    /// When none that is made here comes after those that there are.
    pub(crate) fn next_name(&self) -> anyhow::Result<String> {
        let last = self.files.keys().next_back().map_or("", String::as_str);
        // One number for one layer.
        let level = |name: &str| name.get(..2).unwrap_or(name).to_owned();
        let numbered = (1..10).map(|number| format!("{number}0-{ADDED}"));
        let mut names = numbered.filter(|name| level(name) > level(last));
        let name = names.next().or((ADDED > last).then(|| ADDED.to_owned()));
        name.with_context(|| {
            let shown = self.overlay.display();
            format!("{shown}: ConfigMap {CONFIG_MAP} has {last}, which is read last; expected a name that begins with a number below 90, such as 20-own.toml")
        })
    }
}

/// Whether a file has a name that is given here.
pub(super) fn is_added(name: &str) -> bool {
    let number = name.strip_suffix(ADDED);
    number.is_some_and(|number| number.chars().all(|c| c.is_ascii_digit() || c == '-'))
}

/// In Kustomize's order: resources, components, what the kustomization generates itself.
fn collect(directory: &Path, depth: usize, files: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    let read = read(directory, depth)?;
    for resource in directories(directory, &read) {
        collect(&resource, depth + 1, files)?;
    }
    for component in below(directory, &read.components) {
        collect(&component, depth + 1, files)?;
    }
    for generator in read.generators.iter().filter(|one| one.name == CONFIG_MAP) {
        if generator.behavior == "replace" {
            files.clear();
        }
        for file in &generator.files {
            let own = Path::new(file).file_name().and_then(|name| name.to_str());
            let (name, path) = file.split_once('=').unwrap_or((own.unwrap_or(file), file));
            // As a directory is read: config/files.rs.
            if name.ends_with(".toml") && !name.starts_with('.') {
                files.insert(name.to_owned(), directory.join(path));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::kustomization::Manifests;
    use super::super::kustomization::tests::manifests;
    use super::*;

    fn names(overlay: &Path) -> Vec<String> {
        Configured::of(overlay).unwrap().files.into_keys().collect()
    }

    #[test]
    fn files_are_those_of_the_base_of_components_and_of_the_overlay_by_name() {
        let root = tempfile::tempdir().unwrap();
        manifests(root.path());
        let overlay = |name: &str| Manifests::open(root.path()).unwrap().overlay(name).unwrap();
        assert_eq!(names(&overlay("plain")), ["10-base.toml"]);
        assert_eq!(
            names(&overlay("own")),
            ["10-base.toml", "15-part.toml", "20-own.toml"]
        );
        let paths = Configured::of(&overlay("own")).unwrap().paths();
        assert!(paths[0].ends_with("base/10-base.toml") && paths[2].ends_with("overlays/own/mine.toml"));
        // One that gives up what is below.
        assert_eq!(names(&overlay("apart")), ["config.toml"]);
    }

    #[test]
    fn a_file_that_is_added_is_read_last() {
        let named = |names: &[&str]| {
            let files = names
                .iter()
                .map(|&name| (name.to_owned(), PathBuf::new()))
                .collect();
            let configured = Configured {
                files,
                overlay: "own".into(),
            };
            configured.next_name().map_err(|error| error.to_string())
        };
        for (names, expected) in [
            (&["10-base.toml"][..], "20-launch.toml"),
            (&["10-base.toml", "15-mtls.toml"], "20-launch.toml"),
            (&["10-base.toml", "20-gpu.toml"], "30-launch.toml"),
            (&["10-base.toml", "30-launch.toml"], "40-launch.toml"),
            (&["95-last.toml"], "launch.toml"),
            (&["10-base.toml", "config.toml"], "launch.toml"),
        ] {
            assert_eq!(named(names).as_deref(), Ok(expected), "{names:?}");
            assert!(names.iter().all(|&name| name < expected), "{names:?}");
            assert!(is_added(expected));
        }
        let refused = named(&["spring.toml"]).unwrap_err();
        assert!(
            refused.contains("own: ") && refused.contains("spring.toml"),
            "{refused}"
        );
        assert!(!is_added("config.toml") && !is_added("../20-launch.toml") && !is_added("my-launch.toml"));
    }

    #[test]
    fn an_overlay_without_a_configuration_is_told() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("kustomization.yaml"), "resources: []\n").unwrap();
        let told = Configured::of(root.path()).unwrap_err().to_string();
        assert!(told.contains("no ConfigMap adwright-config"), "{told}");
    }
}

//! Which files `--config` names: one, or those of a directory.

use std::path::{Path, PathBuf};

/// The files that a path stands for, those of a directory in the order of their names. Names that begin with a dot are passed over: where
/// Kubernetes mounts a ConfigMap, its files lie in such directories, and again beside them as links.
///
/// # Errors
/// What is wrong with the directory: it cannot be read, or has no such file.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error| format!("cannot read the directory: {error}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let hidden = file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|ending| ending == "toml") && file.is_file() {
            found.push(file);
        }
    }
    found.sort_unstable();
    match found.is_empty() {
        true => Err("the directory has no *.toml, expected at least one".into()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_toml_files_by_name_and_anything_else_itself() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("tls.toml")).unwrap();
        assert!(files(place.path()).unwrap_err().contains("*.toml"));
        for name in [
            "own.toml",
            "20-gpu.toml",
            "10-base.toml",
            "notes.md",
            ".hidden.toml",
        ] {
            std::fs::write(at(name), "").unwrap();
        }
        let expected = ["10-base.toml", "20-gpu.toml", "own.toml"].map(at);
        assert_eq!(files(place.path()).unwrap(), expected);
        for other in [at("notes.md"), at("nowhere")] {
            assert_eq!(files(&other).unwrap(), [other]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_mounted_config_map_gives_each_file_once() {
        let place = tempfile::tempdir().unwrap();
        let written = place.path().join("..2026_01_01");
        std::fs::create_dir(&written).unwrap();
        std::fs::write(written.join("10-base.toml"), "").unwrap();
        std::os::unix::fs::symlink("..2026_01_01", place.path().join("..data")).unwrap();
        let visible = place.path().join("10-base.toml");
        std::os::unix::fs::symlink("..data/10-base.toml", &visible).unwrap();
        assert_eq!(files(place.path()).unwrap(), [visible]);
    }
}

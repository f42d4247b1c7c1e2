//! Where files are, as users write it: a directory for a store, a directory to write a model into.

use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, anyhow};
use std::path::{Path, PathBuf};
use store::{Store, StoreSettings};
use url::Url;

/// Opens the store at the URL or in the directory that `key` names.
///
/// # Errors
/// A mistake of configuration that names key and URL.
pub(crate) fn open_store(key: &str, location: &str, settings: &StoreSettings) -> Outcome<Store> {
    let url = if location.contains("://") {
        Ok(location.to_owned())
    } else {
        directory_url(location)
    };
    // Not what was given: it may hold a password.
    let remedy =
        || format!("{key} cannot be opened; expected a directory or a URL such as s3://bucket/prefix");
    url.and_then(|url| Ok(Store::open_with(&url, settings)?))
        .with_context(remedy)
        .or_configuration()
}

/// Opens a store that must be there already: to read a run of a mistyped directory would make that directory.
///
/// # Errors
/// Configuration at fault, naming the key.
pub(crate) fn existing_store(key: &str, location: &str, settings: &StoreSettings) -> Outcome<Store> {
    if directory(location).is_some_and(|path| !path.is_dir()) {
        let missing = Err(anyhow!("{key} = {location:?}: there is no such directory"));
        return missing.or_configuration();
    }
    open_store(key, location, settings)
}

/// The directory of this machine that a location means; `None` where it is none's, such as a bucket.
pub(crate) fn directory(location: &str) -> Option<PathBuf> {
    match Url::parse(location) {
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
        _ if location.contains("://") => None,
        _ => Some(PathBuf::from(location)),
    }
}

fn directory_url(location: &str) -> anyhow::Result<String> {
    if location.is_empty() {
        return Err(anyhow!("{location:?} is empty: expected a directory or a URL"));
    }
    let path = std::path::absolute(location).context("it is no path")?;
    let url = Url::from_directory_path(&path).map_err(|()| anyhow!("it is no path"))?;
    Ok(url.to_string())
}

/// Checks that a model may be written to `directory`: it must not exist, or be empty.
///
/// # Errors
/// A mistake of configuration that names the directory.
pub(crate) fn check_vacant(directory: &Path) -> Outcome<()> {
    if directory.to_string_lossy().contains("://") {
        let shown = directory.display();
        let remedy = "name a directory with --out, then `adwright model push`";
        return Err(anyhow!("{shown} is a URL: {remedy}")).or_configuration();
    }
    let vacant = match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot use {}", directory.display()))
                .or_configuration();
        }
    };
    if vacant {
        return Ok(());
    }
    Err(anyhow!(
        "{} is not empty; name another directory with --out or remove it",
        directory.display()
    ))
    .or_configuration()
}

/// Checks that a model directory is there; what is in it is checked when it is read.
///
/// # Errors
/// A mistake of configuration that names the directory.
pub(crate) fn check_model(directory: &Path, made_by: &str) -> Outcome<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let shown = directory.display();
    Err(anyhow!(
        "{shown} is no model directory; make one with `adwright {made_by} --out {shown}`"
    ))
    .or_configuration()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_is_a_store_whatever_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let odd = parent.path().join("my store #1 100%");
        let store = open_store("store.url", odd.to_str().unwrap(), &StoreSettings::default()).unwrap();
        assert_eq!(store.url().to_file_path().unwrap(), odd);
        assert!(odd.is_dir());
    }

    #[test]
    fn nothing_is_no_store() {
        let settings = StoreSettings::default();
        let message = open_store("store.url", "", &settings).err().unwrap().to_string();
        assert!(
            message.contains("store.url") && message.contains("a directory or a URL"),
            "{message}"
        );
    }

    #[test]
    fn only_a_vacant_directory_takes_a_model() {
        let parent = tempfile::tempdir().unwrap();
        assert!(check_vacant(&parent.path().join("new")).is_ok());
        assert!(check_vacant(parent.path()).is_ok());
        std::fs::write(parent.path().join("model.safetensors"), "x").unwrap();
        assert!(check_vacant(parent.path()).is_err());
    }
}

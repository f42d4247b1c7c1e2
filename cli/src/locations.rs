//! Where files are, as users write it: a directory for a store, a directory to write a model into.

use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, anyhow};
use std::path::Path;
use store::Store;
use url::Url;

/// Opens the store at a URL or in a directory.
///
/// # Errors
/// A mistake of configuration that names the URL.
pub(crate) fn open_store(location: &str) -> Outcome<Store> {
    let url = if location.contains("://") {
        location.to_owned()
    } else {
        directory_url(location).or_configuration()?
    };
    Store::open(&url).or_configuration()
}

fn directory_url(location: &str) -> anyhow::Result<String> {
    let path = std::path::absolute(location).with_context(|| format!("store.url {location:?} is no path"))?;
    let url = Url::from_directory_path(&path).map_err(|()| anyhow!("store.url {location:?} is no path"))?;
    Ok(url.to_string())
}

/// Checks that a model may be written to `directory`: it must not exist, or be empty.
///
/// # Errors
/// A mistake of configuration that names the directory.
pub(crate) fn check_vacant(directory: &Path) -> Outcome<()> {
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
        let store = open_store(odd.to_str().unwrap()).unwrap();
        assert_eq!(store.url().to_file_path().unwrap(), odd);
        assert!(odd.is_dir());
    }

    #[test]
    fn nothing_is_no_store() {
        assert!(open_store("").err().unwrap().to_string().contains("store.url"));
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

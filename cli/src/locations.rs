//! Where files are, as users write it: a directory for a store, a directory to write a model into.

use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, anyhow};
use std::path::{Path, PathBuf};
use store::{HubModel, Store, StoreSettings};
use url::Url;

/// Opens the store at the URL or in the directory that `key` names. Nothing is written yet.
///
/// # Errors
/// A mistake of configuration that names key and URL.
pub(crate) fn open_store(key: &str, location: &str, settings: &StoreSettings) -> Outcome<Store> {
    let url = match location {
        url if url.contains("://") => Ok(url.to_owned()),
        url if lacks_a_slash(url) => Err(anyhow!("{}", with_both_slashes(url))),
        directory => directory_url(directory),
    };
    // Not what was given: it may hold a password.
    let remedy =
        || format!("{key} cannot be opened; expected a directory or a URL such as s3://bucket/prefix");
    url.and_then(|url| Ok(Store::open_with(&url, settings)?))
        .with_context(remedy)
        .or_configuration()
}

/// Looks whether the store that `key` names can be used: whether a directory can be written to, which is then left as it was, and
/// whether there is what it takes to ask a bucket, which is not asked.
///
/// # Errors
/// A mistake of configuration that names key and place.
pub(crate) fn check_store(key: &str, location: &str, settings: &StoreSettings) -> Outcome<()> {
    let Some(directory) = directory(location).filter(|_| !lacks_a_slash(location)) else {
        return open_store(key, location, settings).map(drop);
    };
    let shown = directory.display();
    let remedy = || {
        format!("{key}: cannot write to {shown}; expected a directory or a URL such as s3://bucket/prefix")
    };
    store::probe_directory(&directory)
        .with_context(remedy)
        .or_configuration()
}

/// Whether a text is a URL but for one of its slashes, such as `s3:/bucket`: a store of that name would be a directory `s3:`. What has
/// one letter before the colon is a drive.
pub(crate) fn lacks_a_slash(location: &str) -> bool {
    let Some((scheme, rest)) = location.split_once(":/") else {
        return false;
    };
    let mut letters = scheme.chars();
    let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    is_scheme && scheme.len() > 1 && !rest.starts_with('/')
}

/// Whether a text is meant as a URL, be it that it lacks a slash.
pub(crate) fn is_url(location: &str) -> bool {
    location.contains("://") || lacks_a_slash(location)
}

/// What is said of such a text.
pub(crate) fn with_both_slashes(location: &str) -> String {
    let url = location.replacen(":/", "://", 1);
    format!(
        "{location:?} has one slash where a URL has two; expected {url}, or ./{location} for a directory of that name"
    )
}

/// The directory of this machine that a model's location means; `None` where it comes by URL or from a hub.
pub(crate) fn local_model(location: &str) -> Option<PathBuf> {
    let is_elsewhere = location.contains("://") || HubModel::is_meant_by(location);
    (!is_elsewhere).then(|| PathBuf::from(location))
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

/// Checks that the directory that `flag` names can be filled: it is tried. Nothing is left there.
///
/// # Errors
/// A mistake of configuration that names flag and directory.
pub(crate) fn check_fillable(directory: &Path, flag: &str) -> Outcome<()> {
    store::probe_directory(directory)
        .with_context(|| unfillable(directory, flag))
        .or_configuration()
}

fn unfillable(directory: &Path, flag: &str) -> String {
    format!(
        "{flag}: cannot write to {}; name another directory",
        directory.display()
    )
}

/// Checks that a model may and can be written to `directory`, before it takes hours to have one: it must not exist, or be empty, and it
/// is tried. Nothing is left there.
///
/// # Errors
/// A mistake of configuration that names the directory.
pub(crate) fn check_vacant(directory: &Path) -> Outcome<()> {
    if is_url(&directory.to_string_lossy()) {
        let shown = directory.display();
        let remedy = "name a directory with --out, then `adwright model push`";
        return Err(anyhow!("{shown} is a URL: {remedy}")).or_configuration();
    }
    let vacant = match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error)
                .with_context(|| unfillable(directory, "--out"))
                .or_configuration();
        }
    };
    if vacant {
        return check_fillable(directory, "--out");
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
    #[cfg(unix)]
    use crate::failure::Failure;

    #[test]
    fn a_plain_directory_is_a_store_whatever_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let odd = parent.path().join("my store #1 100%");
        let store = open_store("store.url", odd.to_str().unwrap(), &StoreSettings::default()).unwrap();
        assert_eq!(store.url().to_file_path().unwrap(), odd);
        assert!(!odd.exists(), "to open is not to write");
    }

    #[test]
    fn a_url_that_lacks_a_slash_is_no_directory_and_odd_names_are() {
        for url in ["s3:/bad", "S3:/bad/x", "gcs:/b", "file:/tmp/x", "a+b-c.d:/x"] {
            assert!(lacks_a_slash(url), "{url}");
            let failure = open_store("store.url", url, &StoreSettings::default()).unwrap_err();
            let text = failure.reason();
            assert!(
                text.contains("store.url") && text.contains(&url.replacen(":/", "://", 1)),
                "{text}"
            );
        }
        for directory in [
            "out/store",
            "C:/store",
            "s3:bucket",
            "my runs:/x",
            "./s3:/bad",
            "a/s3:/bad",
            "7:/x",
            ":/x",
            "s3://bucket",
        ] {
            assert!(!lacks_a_slash(directory), "{directory}");
        }
    }

    #[test]
    fn a_store_that_can_be_written_to_is_left_as_it_was_and_another_one_is_named() {
        let (parent, settings) = (tempfile::tempdir().unwrap(), StoreSettings::default());
        let at = |name: &str| parent.path().join(name).display().to_string();
        check_store("store.url", &at("a/store"), &settings).unwrap();
        check_store("store.url", &format!("file://{}", at("b")), &settings).unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        std::fs::write(at("file"), "x").unwrap();
        for wrong in [
            at("file"),
            format!("file://{}/below", at("file")),
            "s3:/bad".into(),
        ] {
            let text = check_store("store.url", &wrong, &settings).unwrap_err().reason();
            assert!(text.starts_with("store.url"), "{text}");
        }
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
        assert!(check_vacant(&parent.path().join("new/below")).is_ok());
        assert!(check_vacant(parent.path()).is_ok());
        assert!(!parent.path().join("new").exists(), "nothing is left of a trial");
        std::fs::write(parent.path().join("model.safetensors"), "x").unwrap();
        assert!(check_vacant(parent.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_cannot_be_made_is_refused_though_nothing_is_there() {
        let parent = tempfile::tempdir().unwrap();
        let dangling = parent.path().join("model");
        std::os::unix::fs::symlink(parent.path().join("gone/away"), &dangling).unwrap();
        let Err(Failure::Configuration(error)) = check_vacant(&dangling) else {
            panic!("accepted");
        };
        let text = format!("{error:#}");
        assert!(text.starts_with("--out: cannot write to"), "{text}");
    }
}

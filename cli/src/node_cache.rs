//! Models and catalogues that are named by a URL, brought to this machine: once, whole, and checked at every start.

use crate::config::Config;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::{locations, role};
use anyhow::{Context as _, anyhow};
use models::checkpoint::published;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use store::{Brought, Hub, HubModel, StoreError};
use tokio::time::Instant;

/// How often somebody was told that bytes have come.
static BROUGHT: AtomicU64 = AtomicU64::new(0);

/// A number that grows while bytes come to this machine: the progress of a process that is starting.
pub(crate) fn brought() -> u64 {
    BROUGHT.load(Relaxed)
}

/// A model, or an adapter, that is on this machine.
#[derive(Debug)]
pub(crate) struct Local {
    /// Where it lies.
    pub(crate) directory: PathBuf,
    /// What it is called in what is written about it: as it was named, a hub's model by its commit.
    pub(crate) name: String,
}

/// The model or adapter that `key` names: a path where it says, anything else in this machine's cache.
///
/// # Errors
/// Configuration at fault, naming key and URL, when there is nothing at it or it is not what was pushed; a failed command when
/// it cannot be reached.
pub(crate) fn model(config: &Config, key: &str, location: impl AsRef<Path>) -> Outcome<Local> {
    let (path, name) = (location.as_ref(), location.as_ref().display().to_string());
    if HubModel::is_meant_by(&name) {
        return of_hub(config, key, &name);
    }
    let directory = match name.contains("://") {
        true => of_store(config, key, &name)?,
        false => path.to_owned(),
    };
    Ok(Local { directory, name })
}

/// The same where the configuration names it: from here on it names the directory on this machine.
///
/// # Errors
/// As [`model`].
pub(crate) fn directory(config: &Config, key: &str, location: &str) -> Outcome<String> {
    Ok(model(config, key, location)?.directory.display().to_string())
}

/// The same for a setting that may be empty, which names nothing.
///
/// # Errors
/// As [`model`].
pub(crate) fn base(config: &Config, key: &str, location: &str) -> Outcome<String> {
    match location.is_empty() {
        true => Ok(String::new()),
        false => directory(config, key, location),
    }
}

/// The catalogue's file on this machine, where one is configured: that of the configuration, or the one that was pushed to its
/// URL.
///
/// # Errors
/// As [`model`].
pub(crate) fn catalogue(config: &Config) -> Outcome<Option<PathBuf>> {
    let (key, source) = ("catalogue.source", &config.catalogue.source);
    if !source.contains("://") {
        return Ok(config.catalogue.file().map(Path::to_owned));
    }
    let directory = of_store(config, key, source)?;
    only(&directory, "json")
        .context("what was pushed there is no catalogue as `adwright catalog push` writes it")
        .with_context(|| format!("{key} = {source:?}"))
        .or_configuration()
        .map(Some)
}

/// The weights that `key` names: a file where it says, or the only `.safetensors` file of a directory that is brought to this machine.
///
/// # Errors
/// As [`model`], and when that directory has none or several.
pub(crate) fn weights(config: &Config, key: &str, location: &str) -> Outcome<PathBuf> {
    let brought = model(config, key, location)?.directory;
    if brought == Path::new(location) {
        return Ok(brought);
    }
    only(&brought, "safetensors")
        .with_context(|| format!("{key} = {location:?}"))
        .or_configuration()
}

fn of_store(config: &Config, key: &str, url: &str) -> Outcome<PathBuf> {
    let store = locations::existing_store(key, url, &config.store.settings())?;
    let pull = async |told: &store::Told<'_>| {
        store
            .pull_directory(&cache(config)?, told)
            .await
            .map_err(|error| {
                let remedy = format!(
                    "{key}: nothing was pushed there (`adwright model push`, `adwright catalog push`)"
                );
                match error {
                    StoreError::NotFound { .. } => {
                        Failure::Configuration(anyhow::Error::from(error).context(remedy))
                    }
                    error => blame(error, key),
                }
            })
    };
    watched(key, store.url().as_str(), pull)
}

fn of_hub(config: &Config, key: &str, name: &str) -> Outcome<Local> {
    let model: HubModel = name.parse().context(key.to_owned()).or_configuration()?;
    let hub = Hub::open(&config.store.settings())
        .context(key.to_owned())
        .or_configuration()?;
    let blame = |error| blame(error, key);
    let pinned = role::small_runtime()?
        .block_on(hub.resolve(&model))
        .map_err(blame)?;
    if config.learner.deterministic && !model.is_commit() {
        return Err(anyhow!(
            "{key} = \"{model}\": a deterministic run names a commit, which no later push changes; this one is now \"{pinned}\""
        ))
        .or_configuration();
    }
    let pull = async |told: &store::Told<'_>| {
        let cache = cache(config)?;
        hub.pull(&pinned, &cache, published, told).await.map_err(blame)
    };
    let name = pinned.to_string();
    Ok(Local {
        directory: watched(key, &name, pull)?,
        name,
    })
}

/// Brings a directory here, showing how far it is, and logs what that took.
fn watched(
    key: &str,
    from: &str,
    pull: impl AsyncFnOnce(&store::Told<'_>) -> Outcome<Brought>,
) -> Outcome<PathBuf> {
    let stage = Mutex::new(Progress::detect().stage(from));
    let told = |done, all| {
        BROUGHT.fetch_add(1, Relaxed);
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        stage.update(done, all, "");
    };
    let begun = Instant::now();
    let Brought {
        directory,
        digest,
        files,
        bytes,
        came,
    } = role::small_runtime()?.block_on(pull(&told))?;
    let (seconds, from_cache) = (begun.elapsed().as_secs_f64(), bytes.saturating_sub(came));
    let shown = directory.display();
    tracing::info!(
        target: crate::telemetry::COLD_START,
        key, from, directory = %shown, %digest, files, bytes, came, from_cache, seconds, "on this machine"
    );
    Ok(directory)
}

/// Where this machine keeps what it was brought: the configured directory, or the user's.
///
/// # Errors
/// Configuration at fault when it names none and the user has none.
#[expect(
    clippy::disallowed_methods,
    reason = "where a user's caches lie is the machine's affair, and changes no result"
)]
pub(crate) fn cache(config: &Config) -> Outcome<PathBuf> {
    if !config.paths.cache.is_empty() {
        return Ok(PathBuf::from(&config.paths.cache));
    }
    let found = users_cache(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    found
        .ok_or_else(|| anyhow!("paths.cache is empty, and neither XDG_CACHE_HOME nor HOME names a directory"))
        .or_configuration()
}

/// `adwright` in the user's directory for caches. By its convention a path that is not absolute counts as none.
fn users_cache(caches: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let caches = caches.and_then(absolute);
    let caches = caches.or_else(|| Some(home.and_then(absolute)?.join(".cache")));
    Some(caches?.join("adwright"))
}

/// The only file of a directory whose name ends so.
fn only(directory: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let cannot = || format!("cannot read {}", directory.display());
    let entries = std::fs::read_dir(directory).with_context(cannot)?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let found: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == ending))
        .collect();
    match <[PathBuf; 1]>::try_from(found) {
        Ok([one]) => Ok(one),
        Err(found) => Err(anyhow!(
            "{} files in it end with .{ending}: expected one",
            found.len()
        )),
    }
}

/// What the user can put right, and what may work the next time.
fn blame(error: StoreError, key: &str) -> Failure {
    let passing = matches!(
        error,
        StoreError::Backend { .. } | StoreError::Denied { .. } | StoreError::File { .. }
    );
    let told = anyhow::Error::from(error).context(format!("{key} cannot be brought to this machine"));
    match passing {
        true => Failure::Run(told),
        false => Failure::Configuration(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_cache_is_where_the_machine_says() {
        let text = |text: &str| Some(OsString::from(text));
        let cache = |caches, home| users_cache(caches, home).map(|path| path.display().to_string());
        assert_eq!(cache(text("/c"), text("/h")).as_deref(), Some("/c/adwright"));
        assert_eq!(
            cache(text("c"), text("/h")).as_deref(),
            Some("/h/.cache/adwright")
        );
        assert_eq!(cache(None, text("/h")).as_deref(), Some("/h/.cache/adwright"));
        assert_eq!(cache(None, text("")), None);
        assert_eq!(cache(None, None), None);
    }

    #[test]
    fn weights_are_the_file_that_is_named_or_the_only_ones_that_were_pushed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let mut config = Config::default();
        config.paths.cache = at("cache").display().to_string();
        let file = at("style.safetensors").display().to_string();
        assert_eq!(
            weights(&config, "diffusion.lora", &file).unwrap(),
            at("style.safetensors")
        );
        let push = |name: &str, files: &[&str]| {
            let url = format!("file://{}", at(name).display());
            let files = files.iter().map(|file| {
                std::fs::write(at(file), *file).unwrap();
                ((*file).to_owned(), at(file))
            });
            let (store, files) = (store::Store::open(&url).unwrap(), files.collect());
            let pushed = role::small_runtime()
                .unwrap()
                .block_on(store.push_directory(&files));
            pushed.unwrap();
            url
        };
        let url = push("one", &["a.safetensors", "README.md"]);
        let brought = weights(&config, "diffusion.lora", &url).unwrap();
        assert_eq!(std::fs::read(brought).unwrap(), b"a.safetensors");
        let url = push("two", &["a.safetensors", "b.safetensors"]);
        let refused = weights(&config, "diffusion.lora", &url).unwrap_err().to_string();
        for words in ["diffusion.lora", &url, "2 files", "expected one"] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }
}

//! Another model in the served directory takes over while the server runs.
//!
//! The directory is looked at from time to time, and when the server is told to. What looks different and has stopped
//! changing is read beside the served model, checked, and takes over between two batches; what cannot be used leaves the old
//! model serving, and the log and the status say why.

use crate::config::RewardServerConfig;
use crate::error::RewardError;
use crate::served::ServedModel;
use crate::serving::Models;
use common::{Digest, with_causes};
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Entries of a model directory that are looked at: more is no model.
const MOST_ENTRIES: usize = 10_000;

/// Directories below a model directory that are looked into.
const DEPTH: usize = 3;

/// Reads a model; called off the runtime.
type Load<M> = dyn Fn() -> Result<M, RewardError> + Send + Sync;

/// Where a served model comes from.
pub struct ModelSource<M> {
    directory: PathBuf,
    load: Arc<Load<M>>,
    /// Tells the server to read the directory again now, whether it looks different or not.
    pub asked: Arc<Notify>,
    /// What the directory looked like when its model was read.
    seen: Option<Digest>,
}

/// What became of changes of the model directory.
#[derive(Debug, Default)]
pub(crate) struct ReloadState(Mutex<(u64, Option<String>)>);

/// Watches over a source.
pub(crate) struct Reloader<M: ServedModel> {
    source: ModelSource<M>,
    models: Arc<Models>,
    state: Arc<ReloadState>,
}

impl<M> ModelSource<M> {
    /// The model in `directory`, which `load` reads. Make this before the model that is served first is read, so that no change
    /// is missed in between.
    pub fn new(
        directory: impl Into<PathBuf>,
        load: impl Fn() -> Result<M, RewardError> + Send + Sync + 'static,
    ) -> Self {
        let directory = directory.into();
        Self {
            seen: appearance(&directory).ok(),
            directory,
            load: Arc::new(load),
            asked: Arc::default(),
        }
    }
}

impl<M> fmt::Debug for ModelSource<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ModelSource")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl ReloadState {
    /// How often another model took over, and why the newest content is not served.
    pub(crate) fn told(&self) -> (u64, Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, reloaded: bool, failure: Option<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += u64::from(reloaded);
        state.1 = failure;
    }
}

impl<M: ServedModel> Reloader<M> {
    /// A reloader of what `models` serves.
    pub(crate) fn new(source: ModelSource<M>, models: Arc<Models>, state: Arc<ReloadState>) -> Self {
        Self {
            source,
            models,
            state,
        }
    }

    /// Watches until `stop`.
    pub(crate) async fn watch(mut self, config: &RewardServerConfig, stop: CancellationToken) {
        let poll = config.reload_poll();
        let asked = self.source.asked.clone();
        let mut settling = None;
        loop {
            let told = tokio::select! {
                () = asked.notified() => true,
                () = pause(poll) => false,
                () = stop.cancelled() => return,
            };
            let now = self.appearance().await;
            let different = now != self.source.seen;
            // Somebody may be writing: only what looks the same twice is read.
            let settled = settling == Some(now);
            settling = Some(now);
            if told || (different && settled) {
                // However it ends, it is tried again when the directory looks different or somebody asks.
                self.source.seen = now;
                tokio::select! {
                    () = self.reload(now) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    async fn reload(&self, appearance: Option<Digest>) {
        let directory = self.source.directory.display();
        match self.take_over(appearance).await {
            Ok(true) => self.state.note(true, None),
            Ok(false) => {
                tracing::info!(%directory, "the model directory holds the model that is served");
                self.state.note(false, None);
            }
            Err(error) => {
                let reason = with_causes(&error);
                let serving = self
                    .models
                    .current()
                    .ok()
                    .map(|serving| serving.digest.to_string());
                tracing::error!(%directory, reason, serving, "the model directory cannot be served; the old model goes on");
                self.state.note(false, Some(reason));
            }
        }
    }

    /// Has the directory's model take over. Returns whether it is another one than that which is served.
    async fn take_over(&self, appearance: Option<Digest>) -> Result<bool, RewardError> {
        let load = self.source.load.clone();
        let model = tokio::task::spawn_blocking(move || load())
            .await
            .map_err(RewardError::starting)??;
        if self.appearance().await != appearance {
            return Err(RewardError::Changing {
                directory: self.source.directory.clone(),
            });
        }
        let Ok(old) = self.models.current() else {
            return Ok(false);
        };
        if model.form() != old.form {
            return Err(RewardError::OtherForm {
                expected: old.form.clone(),
                found: model.form(),
            });
        }
        let new = self.models.start(model).await?;
        if new.digest == old.digest {
            return Ok(false);
        }
        tracing::warn!(old = %old.digest, new = %new.digest, "another reward model takes over");
        self.models.replace(new);
        Ok(true)
    }

    async fn appearance(&self) -> Option<Digest> {
        let directory = self.source.directory.clone();
        let looked = tokio::task::spawn_blocking(move || appearance(&directory)).await;
        looked.ok()?.ok()
    }
}

/// Waits for the next look; for ever where there is none.
async fn pause(poll: Option<std::time::Duration>) {
    match poll {
        Some(poll) => tokio::time::sleep(poll).await,
        None => std::future::pending().await,
    }
}

/// What a directory looks like without reading its files: name, size, times and place of each.
fn appearance(directory: &Path) -> io::Result<Digest> {
    let mut entries = Vec::new();
    look_into(directory, DEPTH, &mut entries)?;
    entries.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for (path, numbers) in &entries {
        let name = path.as_os_str().as_encoded_bytes();
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name);
        numbers.iter().for_each(|number| {
            hasher.update(&number.to_le_bytes());
        });
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

type Entry = (PathBuf, [i64; 6]);

fn look_into(directory: &Path, depth: usize, entries: &mut Vec<Entry>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // Through links: a link that points elsewhere is another file.
        let data = std::fs::metadata(&path)?;
        if data.is_dir() && depth > 0 {
            look_into(&path, depth - 1, entries)?;
        } else {
            let modified = [data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()];
            let [seconds, nanos, changed, changed_nanos] = modified;
            let place = [data.size() as i64, data.ino() as i64];
            let [size, inode] = place;
            entries.push((path, [size, inode, seconds, nanos, changed, changed_nanos]));
        }
        if entries.len() > MOST_ENTRIES {
            return Err(io::Error::other("too many files for a model"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_looks_different_when_any_file_below_it_is_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        fs::create_dir(file("tower")).unwrap();
        fs::write(file("config.json"), "{}").unwrap();
        fs::write(file("tower/weights"), "abc").unwrap();
        let look = || appearance(directory.path()).unwrap();
        let first = look();
        assert_eq!(look(), first);
        // Another file of the same size in the same place.
        fs::write(file("new"), "abd").unwrap();
        let with_new = look();
        assert_ne!(with_new, first);
        fs::rename(file("new"), file("tower/weights")).unwrap();
        let renamed = look();
        assert!(renamed != first && renamed != with_new);
        fs::remove_file(file("config.json")).unwrap();
        assert_ne!(look(), renamed);
        assert!(appearance(&file("nothing")).is_err());
    }
}

//! `adwright model push`, `adwright catalog push`: what other machines take by URL.

use crate::args::{CatalogCommand, ModelCommand, PushArgs};
use crate::config::Layers;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::{locations, output, role, telemetry};
use anyhow::{Context as _, anyhow};
use data::CaigCatalogue;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use store::{HubModel, Pushed, StoreError};

/// How deep directories may lie in a model's: a link that leads back ends here.
const DEPTH: usize = 8;

/// Files by the names that they get.
type Files = BTreeMap<String, PathBuf>;

/// Runs `adwright model ...`.
pub(super) fn model(command: &ModelCommand) -> Outcome<()> {
    let ModelCommand::Push(args) = command;
    telemetry::init(telemetry::QUIET)?;
    locations::check_model(&args.from, "init")?;
    let mut files = Files::new();
    collect(&args.from, "", DEPTH, &mut files).or_configuration()?;
    push(args, &files)
}

/// Runs `adwright catalog ...`.
pub(super) fn catalog(command: &CatalogCommand) -> Outcome<()> {
    let CatalogCommand::Push(args) = command;
    telemetry::init(telemetry::QUIET)?;
    // What cannot be read here cannot be read there: all faulty rows at once. Who reads it holds its share out.
    CaigCatalogue::load(&args.from, 0.0).or_configuration()?;
    let files = of_catalogue(&args.from).or_configuration()?;
    push(args, &files)
}

fn push(args: &PushArgs, files: &Files) -> Outcome<()> {
    if files.is_empty() {
        return Err(anyhow!("{} holds no files", args.from.display())).or_configuration();
    }
    if args.to.starts_with("memory:") {
        return Err(anyhow!("{}: nobody else reads this process's memory", args.to)).or_configuration();
    }
    if HubModel::is_meant_by(&args.to) {
        return Err(anyhow!("{}: a hub is read only; name a store", args.to)).or_configuration();
    }
    let config = Layers::default()
        .files(&args.config.config)
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    let place = locations::open_store("URL", &args.to, &config.store.settings())?;
    let pushed = role::small_runtime()?.block_on(place.push_directory(files));
    let pushed = pushed.map_err(|error| match error {
        StoreError::Exists { .. } => Failure::Configuration(
            anyhow::Error::from(error).context("the place holds something else; name another one"),
        ),
        StoreError::Key { .. } | StoreError::File { .. } => Failure::Configuration(error.into()),
        error => Failure::Run(error.into()),
    })?;
    if args.json {
        return Ok(output::json(&pushed)?);
    }
    let Pushed {
        digest,
        files,
        bytes,
        sent,
    } = pushed;
    Ok(output::line(&format!(
        "{}: {files} files, {bytes} bytes, {sent} of them sent now, {digest}",
        place.url()
    ))?)
}

/// The files of a directory and those below it; hidden ones stay.
fn collect(directory: &Path, prefix: &str, depth: usize, files: &mut Files) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", directory.display());
    if depth == 0 {
        return Err(anyhow!("more than {DEPTH} directories in each other").context(cannot()));
    }
    for entry in std::fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{}: its name is not UTF-8", path.display()))?;
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), depth - 1, files)?;
        } else {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// A catalogue's file and the images that it names, beside it or below.
fn of_catalogue(path: &Path) -> anyhow::Result<Files> {
    let cannot = || format!("cannot read {}", path.display());
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(path).with_context(cannot)?)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let images = rows.iter().filter_map(|row| row["image"].as_str());
    let mut files: Files = images
        .map(|image| (image.to_owned(), folder.join(image)))
        .collect();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    files.insert(format!("{name}.json"), path.to_owned());
    Ok(files)
}

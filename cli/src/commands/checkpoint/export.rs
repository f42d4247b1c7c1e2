//! `adwright checkpoint export`: a checkpoint's adapter for other programs, in a directory or a store.

use crate::args::CheckpointExportArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::run_place::RunPlace;
use crate::{locations, node_cache, output, role};
use anyhow::{Context as _, anyhow};
use common::PolicyVersion;
use learner::{ExportedAdapter, export_adapter};
use models::checkpoint::{check_adapter, merge};
use models::peft::Adapter;
use serde::Serialize;
use std::fs;
use std::path::Path;
use store::Store;
use tempfile::TempDir;

/// What `--json` prints.
#[derive(Serialize)]
struct Exported {
    version: PolicyVersion,
    out: String,
    merged: bool,
    files: Vec<String>,
}

/// Runs the command.
pub(super) fn run(args: &CheckpointExportArgs) -> Outcome<()> {
    let RunPlace { store, config, run } = RunPlace::find(&args.which.place)?;
    let runtime = role::small_runtime()?;
    let place = locations::open_store("--out", &args.out, &config.store.settings())?;
    if !runtime.block_on(place.list(""))?.is_empty() {
        return Err(anyhow!(
            "--out = {}: it is not empty; name another place",
            place.url()
        ))
        .or_configuration();
    }
    let model = node_cache::model(&config, "--model", &args.model)?;
    let exporting = export_adapter(&store, &run, args.version, &model.name);
    let exported = runtime.block_on(exporting).map_err(super::blame)?;
    let work = TempDir::new().context("cannot make a temporary directory")?;
    let adapter_dir = work.path().join("adapter");
    write(&exported, &adapter_dir)?;
    let adapter = Adapter::load_for(&adapter_dir, &model.directory).or_configuration()?;
    let written = if args.merge {
        let merged = work.path().join("merged");
        merge(&model.directory, adapter, &merged).or_configuration()?;
        merged
    } else {
        check_adapter(&model.directory, &adapter).or_configuration()?;
        adapter_dir
    };
    let files = runtime.block_on(put(&place, &written, &exported))?;
    if args.which.json {
        return Ok(output::json(&Exported {
            version: exported.version,
            out: place.url().to_string(),
            merged: args.merge,
            files,
        })?);
    }
    Ok(output::line(&format!("{}: {}", exported.version, place.url()))?)
}

fn write(exported: &ExportedAdapter, directory: &Path) -> Outcome<()> {
    fs::create_dir(directory).context("cannot make a temporary directory")?;
    for (name, bytes) in &exported.files {
        fs::write(directory.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Writes the files of a directory: weights first, what marks the directory as complete last.
async fn put(place: &Store, directory: &Path, exported: &ExportedAdapter) -> Outcome<Vec<String>> {
    let mut names = vec![];
    for entry in fs::read_dir(directory).context("cannot read what was written")? {
        let entry = entry.context("cannot read what was written")?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    let last = exported.files.last().map_or("", |(name, _)| *name);
    names.sort_unstable_by_key(|name| (name.ends_with(".json"), *name == last, name.clone()));
    for name in &names {
        place.put_file(name, &directory.join(name)).await?;
    }
    Ok(names)
}

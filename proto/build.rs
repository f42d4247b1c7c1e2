//! Compiles the wire's definitions without a protoc on the machine, and refuses to when they break with earlier ones.

#[path = "build/compatibility.rs"]
mod compatibility;

use prost_types::FileDescriptorSet;
use std::fs;
use std::path::Path;

const FILES: [&str; 7] = [
    "adwright/v1/common.proto",
    "adwright/v1/image.proto",
    "adwright/v1/learner.proto",
    "adwright/v1/ledger.proto",
    "adwright/v1/relay.proto",
    "adwright/v1/reward.proto",
    "keda/externalscaler.proto",
];

/// The definitions as they were on some days, each in a directory of this one that is named for the day.
const BASELINES: &str = "baseline";

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-changed={BASELINES}");
    println!("cargo:rerun-if-changed=build/compatibility.rs");
    let today = protox::compile(FILES, ["."])?;
    let mut days = fs::read_dir(BASELINES)?.collect::<Result<Vec<_>, _>>()?;
    days.sort_by_key(fs::DirEntry::file_name);
    for day in days {
        understands(&day.path(), &today)?;
    }
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".adwright.v1.ArtifactChunk.data")
        .bytes(".adwright.v1.ImageGroup.images")
        .bytes(".adwright.v1.GenerateGroupRequest.product")
        .bytes(".adwright.v1.RenderedImage")
        .compile_fds(today)?;
    Ok(())
}

/// Refuses what of `today` breaks with the definitions in the directory `earlier`.
fn understands(earlier: &Path, today: &FileDescriptorSet) -> Result<(), Fault> {
    let files: Vec<&str> = FILES
        .into_iter()
        .filter(|file| earlier.join(file).exists())
        .collect();
    let place = earlier.display();
    if files.is_empty() {
        return Err(format!("{place}: expected the wire's definitions, such as {}", FILES[0]).into());
    }
    let was = protox::compile(&files, [earlier])?;
    let broken = compatibility::breaking_changes(&was, today);
    if !broken.is_empty() {
        let remedy = "add fields, messages and methods instead; those of proto/baseline stay";
        return Err(format!(
            "the wire breaks with that of {place}: {}; {remedy}",
            broken.join("; ")
        )
        .into());
    }
    Ok(())
}

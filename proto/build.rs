//! Compiles the wire's definitions without a protoc on the machine, and refuses to when they break with the last released ones.

#[path = "build/compatibility.rs"]
mod compatibility;

const FILES: [&str; 7] = [
    "adwright/v1/common.proto",
    "adwright/v1/image.proto",
    "adwright/v1/learner.proto",
    "adwright/v1/ledger.proto",
    "adwright/v1/relay.proto",
    "adwright/v1/reward.proto",
    "keda/externalscaler.proto",
];

/// The definitions as they were last released, below this directory.
const RELEASED: &str = "baseline";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-changed={RELEASED}");
    println!("cargo:rerun-if-changed=build/compatibility.rs");
    let today = protox::compile(FILES, ["."])?;
    let released = FILES
        .iter()
        .filter(|file| std::path::Path::new(RELEASED).join(file).exists());
    let released = protox::compile(released, [RELEASED])?;
    let broken = compatibility::breaking_changes(&released, &today);
    if !broken.is_empty() {
        let remedy = "add fields, messages and methods instead; those of proto/baseline stay";
        return Err(format!(
            "the wire breaks with the released one: {}; {remedy}",
            broken.join("; ")
        )
        .into());
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

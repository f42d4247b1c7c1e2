//! Compiles the wire's definitions without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "adwright/v1/common.proto",
        "adwright/v1/learner.proto",
        "adwright/v1/ledger.proto",
        "adwright/v1/relay.proto",
        "adwright/v1/reward.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".adwright.v1.ArtifactChunk.data")
        .bytes(".adwright.v1.ImageGroup.images")
        .compile_fds(descriptors)?;
    Ok(())
}

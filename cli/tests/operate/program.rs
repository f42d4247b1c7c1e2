//! The program, asked once.

use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) fn adwright(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .env("XDG_CACHE_HOME", directory.join("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

//! A directory for one test, and how the program answers there.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// An address that somebody has, for as long as the listener lasts.
pub(crate) fn taken() -> (TcpListener, String) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    (taken, address)
}

/// A directory for one test, with its own products.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    pub(crate) fn picture(&self, name: &str, colour: u8) {
        image::RgbaImage::from_pixel(8, 8, image::Rgba([colour, 90, 10, 255]))
            .save(self.path(name))
            .unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adwright"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said {
            output: self.command(arguments).output().unwrap(),
            directory: self.directory.path().to_owned(),
        }
    }

    /// Runs a demo that must be refused before it begins.
    pub(crate) fn demo(&self, arguments: &[&str]) -> Said {
        let said = self.run(&[&["demo", "--out", "result"], arguments].concat());
        assert!(!self.path("result").exists(), "output of a refused demo");
        assert!(
            !self.path("result.unfinished").exists(),
            "leftovers of a refused demo"
        );
        said
    }
}

/// How the program answered.
pub(crate) struct Said {
    pub(crate) output: Output,
    pub(crate) directory: PathBuf,
}

impl Said {
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: i32, words: &[&str]) {
        let errors = self.errors();
        assert_eq!(self.output.status.code(), Some(status), "{errors}");
        assert!(self.output.stdout.is_empty(), "standard output is for results");
        for word in words {
            assert!(errors.contains(word), "{word:?} is not in:\n{errors}");
        }
        for fault in ["panicked", "RUST_BACKTRACE"] {
            assert!(!errors.contains(fault), "{errors}");
        }
    }

    #[track_caller]
    pub(crate) fn left_nothing_but(&self, names: &[&str]) {
        let mut left: Vec<String> = std::fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, names);
    }
}

//! The examples of docs/ that are written in Python: what they are run with, and stubs made from our definitions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of them.
pub(crate) struct Example {
    /// Its directory in docs/.
    pub(crate) name: &'static str,
    /// The variable that names a Python with the packages of its requirements.txt. Default `python3`.
    pub(crate) variable: &'static str,
    /// What of those packages it imports.
    pub(crate) modules: &'static str,
    /// The definitions that it speaks, beside those that all share.
    pub(crate) definitions: &'static [&'static str],
    /// The directory that they are read from.
    pub(crate) root: &'static str,
}

impl Example {
    /// The Python to run it with.
    pub(crate) fn python(&self) -> String {
        let Self { name, variable, .. } = self;
        let python = std::env::var(variable).unwrap_or_else(|_| "python3".into());
        let asked = Command::new(&python)
            .args(["-c", &format!("import {}", self.modules)])
            .output();
        let has_packages = asked.as_ref().is_ok_and(|asked| asked.status.success());
        assert!(
            has_packages,
            "{python} has not the packages of docs/{name}/requirements.txt: install them in a venv and name its python with {variable}; \
             {asked:?}"
        );
        python
    }

    /// One of its files.
    pub(crate) fn file(&self, file: &str) -> PathBuf {
        repository().join("docs").join(self.name).join(file)
    }

    /// Makes its stubs below `directory`; where they are.
    pub(crate) fn stubs(&self, python: &str, directory: &Path) -> PathBuf {
        let stubs = directory.join("stubs");
        fs::create_dir(&stubs).unwrap();
        let names = std::iter::once(&"common").chain(self.definitions);
        let made = Command::new(python)
            .args(["-m", "grpc_tools.protoc", "-I", self.root, "--python_out"])
            .arg(&stubs)
            .arg("--grpc_python_out")
            .arg(&stubs)
            .args(names.map(|name| format!("adwright/v1/{name}.proto")))
            .current_dir(repository())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        stubs
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

//! Whether a place of this machine can be written to, found out by writing there. Nothing of that is left, not even a directory.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// How often a directory is looked at again that somebody who looks at the same time has taken away.
const TRIES: usize = 16;

/// Whether a file can be written: an existing one, which is left as it is, or a new one in a directory that is there.
///
/// # Errors
/// What the system says.
pub fn probe_file(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => OpenOptions::new().append(true).open(&path).map(drop),
        // Opening a pipe waits for its reader.
        Ok(_) => Ok(()),
        // The file itself is not made: another process may be about to, and its file would be taken away.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            write_in(path.parent().ok_or(ErrorKind::IsADirectory)?)
        }
        Err(error) => Err(error),
    }
}

/// Whether a directory can be filled: one that is there, or one that is made with all above it.
///
/// # Errors
/// What the system says.
pub fn probe_directory(directory: &Path) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    let fill = || {
        let _made = Made::all(&directory)?;
        write_in(&directory)
    };
    let mut filled = fill();
    for _ in 0..TRIES {
        match &filled {
            Err(error) if error.kind() == ErrorKind::NotFound => filled = fill(),
            _ => break,
        }
    }
    filled
}

/// Writes a file of a name that nobody else has, and removes it.
fn write_in(directory: &Path) -> io::Result<()> {
    // Pods that share a volume are process 1 each. The hasher's keys come from the system's random numbers.
    let unique = RandomState::new().hash_one(std::process::id());
    let probe = directory.join(format!(".adwright-probe-{unique:016x}"));
    File::create(&probe)?;
    match fs::remove_file(&probe) {
        // Somebody has cleared it away.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Directories that were not there before, outermost first; they go with it, as long as they are empty: what is not is somebody's.
struct Made(Vec<PathBuf>);

impl Made {
    fn all(directory: &Path) -> io::Result<Self> {
        let mut made = Self(vec![]);
        let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => made.0.push(path.to_owned()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let removed = self.0.iter().rev().map(fs::remove_dir);
        // The first that cannot be removed ends it.
        removed.take_while(Result::is_ok).for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn what_can_be_written_is_left_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("steps.jsonl");
        probe_file(&file).unwrap();
        probe_directory(&place.path().join("not/yet/there")).unwrap();
        probe_directory(place.path()).unwrap();
        assert_eq!(names(place.path()), [""; 0]);
        fs::write(&file, "a line\n").unwrap();
        probe_file(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "a line\n");
    }

    #[test]
    fn what_cannot_be_written_is_said_and_leaves_nothing_either() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("file"), "x").unwrap();
        assert!(
            probe_file(&at("missing/steps.jsonl")).is_err(),
            "its directory is not made"
        );
        assert!(probe_file(place.path()).is_err(), "a directory is no file");
        for directory in [at("file"), at("file/below"), "/proc/nowhere/at/all".into()] {
            assert!(probe_directory(&directory).is_err(), "{}", directory.display());
        }
        assert_eq!(names(place.path()), ["file"]);
    }

    #[test]
    fn two_who_look_at_the_same_time_do_not_mislead_each_other() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a/b/c");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| probe_directory(&directory).unwrap()));
            }
        });
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        probe_file(Path::new("/dev/null")).unwrap();
    }
}

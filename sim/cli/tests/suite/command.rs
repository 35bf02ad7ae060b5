//! Runs the built command in a directory of its own and keeps what it said.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory to run the command in.
pub(crate) struct Room {
    directory: PathBuf,
    /// Removes the directory in the end, if it is to be removed.
    _temporary: Option<tempfile::TempDir>,
}

/// What a run of the command came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Exit status.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Room {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        Self { directory: temporary.path().to_owned(), _temporary: Some(temporary) }
    }

    /// An empty directory at a place that is the same each time: what is built for a driver in it does not pile up.
    pub(crate) fn at(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // The first time there is none.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("the directory is made");
        Self { directory, _temporary: None }
    }

    /// Where a file of this directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes a file.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// The names of all files here, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).expect("the directory is there");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect();
        names.sort();
        names
    }

    /// Runs the command here, with `arguments` separated by spaces.
    pub(crate) fn bringup(&self, arguments: &str) -> Said {
        self.bringup_with(arguments, &[])
    }

    /// The command, to be run here with `arguments` separated by spaces.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bringup"));
        command.args(arguments.split_whitespace()).current_dir(&self.directory);
        command.env("BRINGUP_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command
    }

    /// As [`bringup`](Self::bringup), with more environment variables.
    pub(crate) fn bringup_with(&self, arguments: &str, variables: &[(&str, &str)]) -> Said {
        let mut command = self.command(arguments);
        let Output { status, stdout, stderr } =
            command.envs(variables.iter().copied()).output().expect("the command starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command speaks UTF-8");
        Said { status: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }
}

/// Says on the terminal that a test does nothing, and why. It goes around the test harness, which would keep what a passing test
/// prints to itself.
pub(crate) fn skip(what: &str, reason: &str) {
    // A terminal that is gone is nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {reason}");
}

impl Said {
    /// The one line on standard error, with which the command refused.
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!((self.status, self.err.lines().count()), (2, 1), "{self:?}");
        self.err.strip_prefix("error: ").expect("an error").trim_end()
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

//! Runs the built command in a directory of its own and keeps what it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory to run the command in.
pub struct Room {
    directory: tempfile::TempDir,
}

/// What a run of the command came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Room {
    /// An empty directory.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Where a file of this directory is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a file.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the file is written");
        path
    }

    /// The names of all files here, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory is there");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect();
        names.sort();
        names
    }

    /// Runs the command here, with `arguments` separated by spaces.
    pub fn bringup(&self, arguments: &str) -> Said {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_bringup"))
            .args(arguments.split_whitespace())
            .current_dir(self.directory.path())
            .env("BRINGUP_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
            .output()
            .expect("the command starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command speaks UTF-8");
        Said { status: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }
}

impl Said {
    /// The one line on standard error, with which the command refused.
    pub fn refusal(&self) -> &str {
        assert_eq!((self.status, self.err.lines().count()), (2, 1), "{self:?}");
        self.err.strip_prefix("error: ").expect("an error").trim_end()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

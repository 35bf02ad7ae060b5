//! What stops the command with exit status 2: one clear line.

use std::fmt;
use std::io;
use std::path::Path;

use crate::output::errors_are_colourful;

/// Why the command cannot do what it was asked to. `Display` is the line that follows `error: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The user is told this line.
    #[error("{0}")]
    Line(String),
    /// The user has been told already (a compiler's messages); only the exit status is left.
    #[error("")]
    Told,
}

impl Failure {
    pub(crate) fn new(line: impl fmt::Display) -> Self {
        Self::Line(line.to_string())
    }

    /// A file that could not be read, written, …: `what` is the verb.
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Line(format!("cannot {what} {}: {}", path.display(), reason(error)))
    }
}

/// The reason alone, without the number that the standard library adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

/// Reads a whole text file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?)
        .map_err(|_| Failure::new(format_args!("cannot read {}: it is not text", path.display())))
}

/// The most that is read of one file, in bytes: some files never end.
const MOST: u64 = 1 << 30;

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use io::Read;
    let failed = |error: io::Error| Failure::file("read", path, &error);
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MOST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST {
        return Err(Failure::new(format_args!("cannot read {}: it is larger than {MOST} bytes", path.display())));
    }
    Ok(bytes)
}

/// Refuses what is no regular file: a pipe may never give anything, a device never end. A directory is left to whoever reads it.
pub(crate) fn check_regular(path: &Path) -> Result<(), Failure> {
    let about = std::fs::metadata(path).map_err(|error| Failure::file("read", path, &error))?;
    if about.is_file() || about.is_dir() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "cannot read {}: it is a pipe, a socket or a device; put what it gives into a regular file",
        path.display()
    )))
}

/// Reads a whole file that has to be a regular one.
pub(crate) fn read_regular(path: &Path) -> Result<Vec<u8>, Failure> {
    check_regular(path)?;
    read(path)
}

/// Tells the user, on standard error. A standard error that is closed is nobody to tell.
pub(crate) fn complain(line: &str) {
    use io::Write;
    let error = if errors_are_colourful() { "\x1b[1;31merror\x1b[0m" } else { "error" };
    let _ = writeln!(io::stderr(), "{error}: {line}");
}

/// Tells the user something that stops nothing, on standard error.
pub(crate) fn remark(line: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "note: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_never_end_is_refused_before_it_is_opened() {
        let room = tempfile::tempdir().unwrap();
        let socket = room.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let pipe = room.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        for path in [socket.as_path(), &pipe, Path::new("/dev/zero")] {
            let said = read_regular(path).unwrap_err().to_string();
            assert!(said.ends_with("put what it gives into a regular file"), "{said}");
        }
        assert!(read_regular(room.path()).unwrap_err().to_string().ends_with("Is a directory"));
    }
}

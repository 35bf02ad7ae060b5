//! The host's files: how they are opened, and how what the host says of them stands in messages.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// What the system said, without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// A path on one line.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string().replace(|c: char| c.is_control(), "?")
}

/// Opens a file to read from. Nobody here makes it or empties it while it is open.
pub(crate) fn open_input(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    hold(&file, File::try_lock_shared)?;
    Ok(file)
}

/// Makes a file to write to, or empties it, unless it is read from or written to already.
pub(crate) fn open_output(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    hold(&file, File::try_lock)?;
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Locks a regular file as long as it is open. A file system without locks has none.
fn hold(file: &File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    match lock(file) {
        Err(TryLockError::WouldBlock) => {
            let why = "another device or process reads it or writes to it; name another file";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
        }
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_read_from_or_written_to_is_not_emptied() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let reader = open_input(&path).unwrap();
        let second = open_input(&path).unwrap();
        assert_eq!(open_output(&path).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        drop((reader, second));
        let writer = open_output(&path).unwrap();
        assert!(open_output(&path).is_err() && open_input(&path).is_err());
        assert_eq!(writer.metadata().unwrap().len(), 0);
    }
}

//! Files that the command writes: whole, or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file: its content goes to a temporary file beside it, which then takes its place, so that an interruption
/// or a full disk leaves either the old file or the new one. What is no regular file (a pipe, a device) is written to directly.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let target = match fs::metadata(path) {
        Ok(known) if !known.is_file() => {
            let mut file = fs::OpenOptions::new().write(true).open(path)?;
            return file.write_all(content);
        }
        // A link stays a link.
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_owned(),
    };
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&temporary, &target)
    });
    if written.is_err() {
        // It may not even exist; the first error is the one that matters.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// As [`write`], but leaves a file alone that holds this content already: builds look at times.
pub(crate) fn write_if_changed(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) { Ok(()) } else { write(path, content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_cannot_be_written_leaves_nothing_behind() {
        let room = tempfile::tempdir().unwrap();
        let taken = room.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"x").is_err());
        assert!(write(&room.path().join("missing/file"), b"x").is_err());
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    }

    #[test]
    fn link_stays_a_link_and_its_file_is_replaced() {
        let room = tempfile::tempdir().unwrap();
        let (file, link) = (room.path().join("file"), room.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
    }
}

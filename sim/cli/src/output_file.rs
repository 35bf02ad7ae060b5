//! Files that the command writes: whole, or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file: its content goes to a temporary file beside it, which then takes its place, so that an interruption
/// or a full disk leaves either the old file or the new one. What is no regular file (a pipe, a device) is written to directly.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut pending = Pending::create(path)?;
    pending.write(content);
    pending.whole();
    pending.finish().map(|_| ())
}

/// Finds out whether a file could be written, without writing it. Pipes and devices are not asked: who reads them may not be there yet.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(known) if !known.is_file() && !known.is_dir() => Ok(()),
        _ => Pending::create(path).map(drop),
    }
}

/// A file that is written bit by bit, and takes its place when it is whole: until then, and if that never comes, what stood there
/// stands there.
#[derive(Debug)]
pub(crate) struct Pending {
    path: PathBuf,
    /// What is no regular file is written to directly.
    temporary: Option<(PathBuf, PathBuf)>,
    /// None: what is written goes nowhere.
    file: Option<io::BufWriter<fs::File>>,
    failed: Option<io::Error>,
    /// All of it was written.
    whole: bool,
}

impl Pending {
    /// Begins a file. Nothing is there yet.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let (temporary, file) = match fs::metadata(path) {
            Ok(known) if !known.is_file() => (None, fs::OpenOptions::new().write(true).open(path)?),
            known => {
                // A link stays a link.
                let target = if known.is_ok() { fs::canonicalize(path)? } else { path.to_owned() };
                let temporary = beside(&target)?;
                let file = fs::File::create(&temporary)?;
                (Some((temporary, target)), file)
            }
        };
        Ok(Self { path: path.to_owned(), temporary, file: Some(io::BufWriter::new(file)), failed: None, whole: false })
    }

    /// As if `path` were written; it is not.
    pub(crate) fn nowhere(path: &Path) -> Self {
        Self { path: path.to_owned(), temporary: None, file: None, failed: None, whole: false }
    }

    /// As the user calls it.
    pub(crate) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Adds to it. What fails is told by [`finish`](Self::finish), and nothing more is written then.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if let (Some(file), None) = (&mut self.file, &self.failed) {
            self.failed = file.write_all(bytes).err();
        }
    }

    /// All that is to be in it was written.
    pub(crate) fn whole(&mut self) {
        self.whole = true;
    }

    /// Puts the file in its place if it is whole, and says whether it was.
    pub(crate) fn finish(mut self) -> io::Result<bool> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(file) = &mut self.file else { return Ok(self.whole) };
        file.flush()?;
        let Some((temporary, target)) = self.temporary.as_ref().filter(|_| self.whole) else { return Ok(self.whole) };
        file.get_ref().sync_data()?;
        fs::rename(temporary, target)?;
        self.temporary = None;
        Ok(true)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.temporary {
            // Whoever gave up has said why.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// The temporary file that stands beside a file until it takes its place.
fn beside(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    Ok(target.with_file_name(format!(".{name}.{}.part", std::process::id())))
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
        assert!(check(&taken).is_err() && check(&room.path().join("missing/file")).is_err());
        assert!(check(&room.path().join("file")).is_ok() && check(Path::new("/dev/full")).is_ok());
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    }

    #[test]
    fn file_that_is_given_up_leaves_the_old_one() {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join("file");
        fs::write(&file, "old").unwrap();
        let mut pending = Pending::create(&file).unwrap();
        pending.write(b"new");
        drop(pending);
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    }

    #[test]
    fn file_that_is_not_whole_does_not_take_its_place() {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join("file");
        let mut pending = Pending::create(&file).unwrap();
        pending.write(b"the first half");
        assert!(!pending.finish().unwrap());
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0);
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

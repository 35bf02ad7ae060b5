//! Sectors in a file of the host, which is locked as long as the device lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bringup_spec::virtio::blk::SECTOR;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::image::Image;
use crate::hosted::{reason, shown};

/// A file, opened once and locked.
///
/// It is accessed in place, a piece at a time, and never made longer or shorter. What [`flush`](Image::flush) came back for
/// outlasts the process, however it ends.
#[derive(Debug)]
pub struct FileImage {
    file: File,
    name: String,
    size: u64,
    read_only: bool,
}

/// Why a file was not taken for an image: a line that says what it is and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not there.
    #[error("cannot open {0}: No such file or directory; make one with \"truncate -s 64M {quoted}\"", quoted = Quoted(.0))]
    Missing(String),
    /// Neither is the directory that it would be in.
    #[error("cannot open {file}: there is no directory {directory}")]
    NoDirectory {
        /// The file.
        file: String,
        /// The directory.
        directory: String,
    },
    /// The user may not.
    #[error("cannot open {0}: Permission denied; allow it with \"chmod u+rw {quoted}\", or add read-only=on if reading is allowed", quoted = Quoted(.0))]
    Writing(String),
    /// The user may not even read it.
    #[error("cannot open {0}: Permission denied; allow reading with \"chmod u+r {quoted}\"", quoted = Quoted(.0))]
    Reading(String),
    /// It is on a file system that is not written to.
    #[error("cannot open {0}: Read-only file system; add read-only=on, or use a copy on another one")]
    ReadOnlyFilesystem(String),
    /// Anything else that the system says.
    #[error("cannot {verb} {file}: {why}")]
    Refused {
        /// `open` or `lock`.
        verb: &'static str,
        /// The file.
        file: String,
        /// The system's words.
        why: String,
    },
    /// It is a directory.
    #[error("{0} is a directory; an image is a file, such as {0}/disk.img")]
    Directory(String),
    /// It is a device, a pipe, a socket.
    #[error("{0} is not a regular file; copy what is in it to one")]
    NotRegular(String),
    /// Somebody else uses it.
    #[error("{0} is in use: another process (or another device) has locked it; wait until it ends, or use a copy")]
    Locked(String),
    /// Its length is no number of sectors.
    #[error("{file} has {len} bytes, not a multiple of {SECTOR}; fill it up with \"truncate -s %{SECTOR} {quoted}\"", quoted = Quoted(.file))]
    Length {
        /// The file.
        file: String,
        /// Its length in bytes.
        len: u64,
    },
    /// It has no sectors.
    #[error("{0} is empty; make it larger with \"truncate -s 64M {quoted}\"", quoted = Quoted(.0))]
    Empty(String),
}

impl ImageError {
    /// What the system said when it was to open `path`.
    fn opening(path: &Path, read_only: bool, error: &io::Error) -> Self {
        let file = shown(path);
        match error.kind() {
            io::ErrorKind::NotFound => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
                    Self::NoDirectory { file, directory: shown(parent) }
                }
                _ => Self::Missing(file),
            },
            io::ErrorKind::PermissionDenied if read_only => Self::Reading(file),
            io::ErrorKind::PermissionDenied => Self::Writing(file),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnlyFilesystem(file),
            _ => Self::Refused { verb: "open", file, why: reason(error) },
        }
    }
}

impl FileImage {
    /// Opens a file and locks it until the image is dropped: against everybody, or if it is only read, against writers. The lock
    /// is advisory (`flock`).
    ///
    /// # Errors
    /// When it cannot be opened or locked, or is not one or more whole sectors long.
    pub fn open(path: &Path, read_only: bool) -> Result<Self, ImageError> {
        let refused = |error: io::Error| ImageError::opening(path, read_only, &error);
        // Asked before it is opened: opening a pipe waits for its other end.
        let info = std::fs::metadata(path).map_err(refused)?;
        if info.is_dir() {
            return Err(ImageError::Directory(shown(path)));
        }
        if !info.is_file() {
            return Err(ImageError::NotRegular(shown(path)));
        }
        let file = OpenOptions::new().read(true).write(!read_only).open(path).map_err(refused)?;
        let locked = if read_only { file.try_lock_shared() } else { file.try_lock() };
        let locks = match locked {
            Err(TryLockError::WouldBlock) => return Err(ImageError::Locked(shown(path))),
            // A kernel may be built without locks, as a file system may.
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                return Err(ImageError::Refused { verb: "lock", file: shown(path), why: reason(&error) });
            }
            Err(TryLockError::Error(_)) => false,
            Ok(()) => true,
        };
        // Others lock by ranges (QEMU, libvirt), which the lock above does not meet. A file system without such locks has none.
        let operation = match read_only {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        if locks && let Err(Errno::AGAIN | Errno::ACCESS) = rustix::fs::fcntl_lock(&file, operation) {
            return Err(ImageError::Locked(shown(path)));
        }
        // Whoever had it locked until now may have changed its length.
        match file.metadata().map_err(refused)?.len() {
            0 => Err(ImageError::Empty(shown(path))),
            len if !len.is_multiple_of(SECTOR) => Err(ImageError::Length { file: shown(path), len }),
            size => Ok(Self { file, name: shown(path), size, read_only }),
        }
    }
}

impl Image for FileImage {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::other(format!("it became shorter than its {} bytes", self.size)),
            _ => error,
        })
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.file.write_all_at(from, offset)
    }

    fn zero(&mut self, offset: u64, len: u64, deallocate: bool) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        if len == 0 {
            return Ok(());
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Where the file system has no holes, zeros do as well.
        if deallocate && rustix::fs::fallocate(&self.file, hole, offset, len).is_ok() {
            return Ok(());
        }
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(ZEROS.len() as u64);
            self.write(offset + done, &ZEROS[..piece as usize])?;
            done += piece;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only { Ok(()) } else { self.file.sync_data() }
    }

    fn resize(&mut self, _size: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A name as a shell takes it for one word.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
        if self.0.chars().all(plain) { f.write_str(self.0) } else { write!(f, "'{}'", self.0.replace('\'', "'\\''")) }
    }
}

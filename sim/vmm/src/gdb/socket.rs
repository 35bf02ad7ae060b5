//! The socket that gdb connects to: made, and gone with the machine.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{SocketFlags, accept_with};

use crate::error::Error;

/// A socket that listens. Its file goes when this does.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The file's device and number, by which it is known to be still ours.
    file: (u64, u64),
}

impl Socket {
    /// Makes it. One that a machine left behind (it was killed) is replaced.
    pub(crate) fn listen(path: &Path) -> Result<Self, Error> {
        let refuse = |why: String| Error::Gdb { path: path.to_owned(), why };
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let is_socket = path.symlink_metadata().is_ok_and(|info| info.file_type().is_socket());
                if !is_socket {
                    return Err(refuse("there is a file already, and it is no socket; name another".into()));
                }
                match UnixStream::connect(path) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    _ => return Err(refuse("another program listens there; name another socket, or end that".into())),
                }
                std::fs::remove_file(path)
                    .and_then(|()| UnixListener::bind(path))
                    .map_err(|error| refuse(format!("cannot replace it: {error}")))?
            }
            bound => bound.map_err(|error| refuse(format!("cannot make a socket for gdb: {error}")))?,
        };
        let info = path.symlink_metadata().map_err(|error| refuse(format!("cannot find it again: {error}")))?;
        listener.set_nonblocking(true).map_err(|error| refuse(format!("cannot listen: {error}")))?;
        Ok(Self { listener, path: path.to_owned(), file: (info.dev(), info.ino()) })
    }

    /// Who connects; `None` if by now nobody does.
    pub(crate) fn accept(&self) -> Option<OwnedFd> {
        accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.path.symlink_metadata().is_ok_and(|info| (info.dev(), info.ino()) == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_goes_with_its_owner_and_one_left_behind_is_replaced() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("gdb");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = Socket::listen(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn socket_of_a_machine_that_runs_and_other_files_are_left_alone() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("gdb");
        let first = Socket::listen(&path).unwrap();
        assert!(Socket::listen(&path).unwrap_err().to_string().contains("another program listens"));
        drop(first);
        std::fs::write(&path, "content").unwrap();
        assert!(Socket::listen(&path).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert!(Socket::listen(&room.path().join("x".repeat(200))).is_err());
    }

    #[test]
    fn file_that_took_the_sockets_place_stays() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("gdb");
        let socket = Socket::listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "content").unwrap();
        drop(socket);
        assert!(path.exists());
    }
}

//! A connection with gdb that no peer can hold up: whatever it waits for, it also waits for the machine's end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gdbstub::conn::Connection;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::board::Board;

/// A connection.
pub(super) struct Link<'a> {
    socket: OwnedFd,
    board: &'a Board,
    /// What came and was not looked at yet: the bytes from `at` on.
    input: Vec<u8>,
    at: usize,
    /// What is to be sent at the next flush.
    output: Vec<u8>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// Something from gdb.
    Byte(u8),
    /// The other file that was waited for is readable.
    News,
    /// The machine's end.
    End,
    /// gdb is gone.
    Nothing,
}

/// gdb is gone, or the machine is.
#[derive(Debug)]
pub(super) struct Gone;

impl<'a> Link<'a> {
    pub(super) fn new(socket: OwnedFd, board: &'a Board) -> Self {
        Self { socket, board, input: Vec::new(), at: 0, output: Vec::new() }
    }

    /// Waits for gdb, the machine's end, and another file.
    pub(super) fn wait(&mut self, news: Option<BorrowedFd<'_>>) -> Came {
        loop {
            if let Some(byte) = self.input.get(self.at) {
                self.at += 1;
                return Came::Byte(*byte);
            }
            let fallback = self.board.ended.as_fd();
            let mut files = [
                PollFd::from_borrowed_fd(self.board.ended.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(news.unwrap_or(fallback), PollFlags::IN),
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
            ];
            if poll(&mut files, None).is_err() {
                continue;
            }
            let [end, news, gdb] = files.map(|file| !file.revents().is_empty());
            if end {
                return Came::End;
            }
            if news {
                return Came::News;
            }
            if gdb && !self.receive() {
                return Came::Nothing;
            }
        }
    }

    /// Takes what is there; `false` if it is the end.
    fn receive(&mut self) -> bool {
        self.input.resize(4096, 0);
        self.at = 0;
        let (len, goes_on) = match recv(&self.socket, &mut self.input[..], RecvFlags::empty()) {
            Ok((0, _)) => (0, false),
            Ok((len, _)) => (len, true),
            Err(Errno::AGAIN | Errno::INTR) => (0, true),
            Err(_) => (0, false),
        };
        self.input.truncate(len);
        goes_on
    }
}

impl Connection for Link<'_> {
    type Error = Gone;

    fn write(&mut self, byte: u8) -> Result<(), Gone> {
        self.output.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let mut left = &self.output[..];
        while !left.is_empty() {
            match send(&self.socket, left, SendFlags::NOSIGNAL) {
                Ok(len) => left = &left[len..],
                Err(Errno::INTR) => {}
                // It does not read. A machine that is over does not wait for it.
                Err(Errno::AGAIN) if self.board.is_over() => return Err(Gone),
                Err(Errno::AGAIN) => {
                    let room = PollFd::new(&self.socket, PollFlags::OUT);
                    let _ = poll(&mut [room, PollFd::new(&self.board.ended, PollFlags::IN)], None);
                }
                Err(_) => return Err(Gone),
            }
        }
        self.output.clear();
        Ok(())
    }
}

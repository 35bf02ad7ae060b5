//! What a port of a console is connected to: nothing, itself, files, or memory that a test holds.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bringup_core::{Nanos, Waker};

use crate::hosted::{open_input, open_output, reason, shown};
use crate::notices::Notices;

/// The other end of a port.
pub trait PortBackend: fmt::Debug + Send {
    /// The device came up; `waker` wakes it when there is input or room for output.
    fn attach(&mut self, _waker: Waker) {}

    /// Takes what the driver sent: how many bytes of it from the start. The rest is offered again when there may be room.
    fn write(&mut self, now: Nanos, from: &[u8]) -> usize;

    /// Gives what is there for the driver: how many bytes were put into `into`.
    fn read(&mut self, now: Nanos, into: &mut [u8]) -> usize;
}

/// Nobody: what is sent is lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTerminal;

impl PortBackend for NoTerminal {
    fn write(&mut self, _now: Nanos, from: &[u8]) -> usize {
        from.len()
    }

    fn read(&mut self, _now: Nanos, _into: &mut [u8]) -> usize {
        0
    }
}

/// What is sent comes back. When too much is on its way, the rest has to wait.
#[derive(Clone, Debug)]
pub struct Echo {
    bytes: VecDeque<u8>,
    room: usize,
}

impl Echo {
    /// An echo that holds `room` bytes.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { bytes: VecDeque::new(), room }
    }
}

fn take(bytes: &mut VecDeque<u8>, into: &mut [u8]) -> usize {
    let len = into.len().min(bytes.len());
    for (to, from) in into.iter_mut().zip(bytes.drain(..len)) {
        *to = from;
    }
    len
}

impl PortBackend for Echo {
    fn write(&mut self, _now: Nanos, from: &[u8]) -> usize {
        let len = from.len().min(self.room.saturating_sub(self.bytes.len()));
        self.bytes.extend(from.iter().take(len));
        len
    }

    fn read(&mut self, _now: Nanos, into: &mut [u8]) -> usize {
        take(&mut self.bytes, into)
    }
}

/// Input from a file and output to another; either may be missing.
#[derive(Debug)]
pub struct Files {
    input: Option<(File, String)>,
    output: Option<(File, String)>,
    notices: Notices,
}

impl Files {
    /// Opens the files: the one for input must exist, the one for output is made or emptied. Later trouble is told to `notices`.
    ///
    /// # Errors
    /// One line for the user, if one cannot be opened.
    pub fn open(input: Option<&Path>, output: Option<&Path>, notices: Notices) -> Result<Self, String> {
        let with_name = |path: &Path, opened: io::Result<File>| {
            let name = shown(path);
            match opened {
                Ok(file) => Ok((file, name)),
                Err(error) => Err(format!("cannot open {name}: {}", reason(&error))),
            }
        };
        if let Some(path) = input.filter(|path| path.is_dir()) {
            return Err(format!("{} is a directory", shown(path)));
        }
        Ok(Self {
            input: input.map(|path| with_name(path, open_input(path))).transpose()?,
            output: output.map(|path| with_name(path, open_output(path))).transpose()?,
            notices,
        })
    }
}

impl PortBackend for Files {
    fn write(&mut self, _now: Nanos, from: &[u8]) -> usize {
        if let Some((file, name)) = &mut self.output
            && let Err(error) = file.write_all(from)
        {
            self.notices.add(format!("cannot write {name}: {}; the output from here on is not in it", reason(&error)));
            self.output = None;
        }
        from.len()
    }

    fn read(&mut self, _now: Nanos, into: &mut [u8]) -> usize {
        let Some((file, name)) = &mut self.input else { return 0 };
        match file.read(into) {
            Ok(len) if len > 0 || into.is_empty() => len,
            end => {
                if let Err(error) = end {
                    self.notices.add(format!("cannot read {name}: {}", reason(&error)));
                }
                self.input = None;
                0
            }
        }
    }
}

/// A terminal in memory, for tests: whoever holds a clone types and reads.
#[derive(Clone, Debug, Default)]
pub struct Terminal(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    typed: VecDeque<u8>,
    shown: Vec<u8>,
    waker: Option<Waker>,
}

impl Terminal {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Types something for the driver.
    pub fn type_in(&self, bytes: &[u8]) {
        let mut held = self.held();
        held.typed.extend(bytes);
        if let Some(waker) = &held.waker {
            waker.wake();
        }
    }

    /// Takes what the driver sent since the last call.
    #[must_use]
    pub fn take_shown(&self) -> Vec<u8> {
        std::mem::take(&mut self.held().shown)
    }
}

impl PortBackend for Terminal {
    fn attach(&mut self, waker: Waker) {
        self.held().waker = Some(waker);
    }

    fn write(&mut self, _now: Nanos, from: &[u8]) -> usize {
        self.held().shown.extend(from);
        from.len()
    }

    fn read(&mut self, _now: Nanos, into: &mut [u8]) -> usize {
        take(&mut self.held().typed, into)
    }
}

//! The serial ports: the console, and the channel by which the guest's own init says how it ended.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use kvm_ioctls::VmFd;
use vm_superio::serial::SerialEvents;
use vm_superio::{Serial, Trigger};

use crate::error::{Asked, Error};
use crate::layout::line;
use crate::signal::Signal;

/// An interrupt line that a file triggers.
#[derive(Debug)]
pub(crate) struct Line(Signal);

impl Line {
    fn new(vm: &VmFd, gsi: u32) -> Result<Self, Error> {
        let event = Signal::new()?;
        vm.register_irqfd(event.file(), gsi).asked_to("listen to an interrupt line")?;
        Ok(Self(event))
    }
}

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.ring();
        Ok(())
    }
}

/// Says when the guest has taken what was put into a port.
#[derive(Clone, Debug, Default)]
struct Room(Arc<(Mutex<u64>, Condvar)>);

impl SerialEvents for Room {
    fn buffer_read(&self) {}

    fn out_byte(&self) {}

    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.1.notify_all();
    }
}

/// Where the guest's output goes.
pub type Output = Box<dyn Write + Send>;

/// The serial ports of a machine.
pub(crate) struct Ports {
    console: Mutex<Serial<Line, Room, Output>>,
    room: Room,
    channel: Mutex<Serial<Line, Room, Said>>,
}

/// What came over the channel last, as much as anybody needs.
#[derive(Debug, Default)]
pub(crate) struct Said(VecDeque<u8>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const MOST: usize = 64 << 10;
        self.0.extend(bytes);
        self.0.drain(..self.0.len().saturating_sub(MOST));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Ports {
    pub(crate) fn new(vm: &VmFd, output: Output) -> Result<Self, Error> {
        let room = Room::default();
        Ok(Self {
            console: Mutex::new(Serial::with_events(Line::new(vm, line::COM1)?, room.clone(), output)),
            room,
            channel: Mutex::new(Serial::with_events(Line::new(vm, line::COM2)?, Room::default(), Said::default())),
        })
    }

    /// Reads a register of the console (`first`) or the channel.
    pub(crate) fn read(&self, first: bool, register: u8) -> u8 {
        if first { locked(&self.console).read(register) } else { locked(&self.channel).read(register) }
    }

    /// Writes one. A byte that cannot be put out, because nobody reads any more, is lost as on a cable without an end.
    pub(crate) fn write(&self, first: bool, register: u8, value: u8) {
        let _ = if first {
            locked(&self.console).write(register, value).is_ok()
        } else {
            locked(&self.channel).write(register, value).is_ok()
        };
    }

    /// Has the guest receive bytes from the console, waiting for room as long as `goes_on`.
    pub(crate) fn type_in(&self, mut bytes: &[u8], goes_on: impl Fn() -> bool) {
        while !bytes.is_empty() && goes_on() {
            let seen = *locked(&self.room.0.0);
            let taken = {
                let mut console = locked(&self.console);
                let most = console.fifo_capacity().min(bytes.len());
                console.enqueue_raw_bytes(&bytes[..most]).unwrap_or(0)
            };
            bytes = &bytes[taken..];
            if taken == 0 {
                let waiting = locked(&self.room.0.0);
                // The guest may have taken them in between; it may also never do, and the machine end meanwhile.
                let _ = self.room.0.1.wait_timeout_while(waiting, Duration::from_millis(50), |now| *now == seen);
            }
        }
    }

    /// What came over the channel.
    pub(crate) fn said(&self) -> Vec<u8> {
        locked(&self.channel).writer().0.iter().copied().collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

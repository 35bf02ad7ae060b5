//! The thread that waits for what no vCPU is stopped by: the devices' time, and doorbells.

use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::board::{Board, End};
use crate::error::{Asked, Error};

/// Files that are waited for.
pub(crate) struct Events(OwnedFd);

/// What is not worth going to sleep for.
const SHORT: Duration = Duration::from_micros(3);

const ENDED: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

impl Events {
    pub(crate) fn new(board: &Board) -> Result<Self, Error> {
        let files = epoll::create(epoll::CreateFlags::CLOEXEC).asked_to("wait for events")?;
        let add = |file: &crate::signal::Signal, number: u64| {
            epoll::add(&files, file, epoll::EventData::new_u64(number), epoll::EventFlags::IN)
                .asked_to("wait for an event")
        };
        add(&board.ended, ENDED)?;
        add(&board.alarm, ALARM)?;
        for (index, file) in board.attached().doorbells.files() {
            add(file, index as u64)?;
        }
        Ok(Self(files))
    }

    /// Answers events until the machine is over.
    pub(crate) fn run(&self, board: &Arc<Board>) {
        // Devices name moments to the microsecond, and the host would be 50 late. Where it cannot be told so, it is.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut ready = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 32];
        while !board.is_over() {
            let until = board.until_next();
            if let Some(until) = until
                && until < SHORT
            {
                if until.is_zero() {
                    board.work();
                } else {
                    std::hint::spin_loop();
                }
                continue;
            }
            let until = until.and_then(|until| Timespec::try_from(until).ok());
            let count = match epoll::wait(&self.0, &mut ready[..], until.as_ref()) {
                Ok(count) => count,
                Err(Errno::INTR) => 0,
                // The files are ours and open: nothing else can be wrong with them, and without events there is no machine.
                Err(_) => return board.end(End::Panicked),
            };
            for event in ready.iter().take(count) {
                match event.data.u64() {
                    ENDED => return,
                    ALARM => _ = board.alarm.take(),
                    bell => board.ring(bell as usize),
                }
            }
        }
    }
}

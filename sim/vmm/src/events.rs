//! The thread that waits for what no vCPU is stopped by: the devices' time, and doorbells.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::board::{Board, End};
use crate::error::{Asked, Error};

/// Files that are waited for.
pub(crate) struct Events {
    epoll: Epoll,
}

const ENDED: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

impl Events {
    pub(crate) fn new(board: &Board) -> Result<Self, Error> {
        let epoll = Epoll::new().asked_to("wait for events")?;
        let add = |file: RawFd, number: u64| {
            epoll.ctl(ControlOperation::Add, file, EpollEvent::new(EventSet::IN, number)).asked_to("wait for an event")
        };
        add(board.ended.as_raw_fd(), ENDED)?;
        let attached = board.attached();
        add(attached.timer.as_raw_fd(), TIMER)?;
        for (index, file) in attached.doorbells.files() {
            add(file, index as u64)?;
        }
        drop(attached);
        Ok(Self { epoll })
    }

    /// Answers events until the machine is over.
    pub(crate) fn run(&self, board: &Arc<Board>) {
        let mut ready = [EpollEvent::default(); 32];
        while !board.is_over() {
            let count = match self.epoll.wait(-1, &mut ready) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
                // The files are ours and open: nothing else can be wrong with them, and without events there is no machine.
                Err(_) => return board.end(End::Panicked),
            };
            for event in ready.iter().take(count) {
                match event.data() {
                    ENDED => return,
                    TIMER => board.work(),
                    bell => board.ring(bell as usize),
                }
            }
        }
    }
}

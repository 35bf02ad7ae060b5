//! A file that becomes readable when it is rung: KVM's way to tell us, and ours to tell KVM and our own threads.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::error::{Asked, Error};

/// An event file (`eventfd`).
#[derive(Debug)]
pub(crate) struct Signal(EventFd);

impl Signal {
    pub(crate) fn new() -> Result<Self, Error> {
        EventFd::new(EFD_NONBLOCK).asked_to("make an event file").map(Self)
    }

    /// Rings it. It is a counter of 64 bits: it is not full before the end of the world.
    pub(crate) fn ring(&self) {
        let _ = self.0.write(1);
    }

    /// Whether it rang since this was asked last.
    pub(crate) fn take(&self) -> bool {
        self.0.read().is_ok()
    }

    /// As KVM takes it.
    pub(crate) fn file(&self) -> &EventFd {
        &self.0
    }
}

impl AsFd for Signal {
    #[expect(unsafe_code, reason = "the crate's event files do not lend their descriptor themselves")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the file's, which is open as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

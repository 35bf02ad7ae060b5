// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Files below `/dev`: a misc device's name is static, so there is a table of them, and a number for each device.

use kernel::{
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    prelude::*,
    sync::Arc,
};

// Numbers of devices, as bits that are taken.
kernel::sync::global_lock! {
    // SAFETY: `init` does it, which the module calls when it is loaded.
    unsafe(uninit) static MINORS: Mutex<u64> = 0;
}

/// Prepares for [`Minor::new`].
///
/// # Safety
///
/// To be called once, when the module is loaded, before the driver is registered.
pub(crate) unsafe fn init() {
    // SAFETY: The caller's promise.
    unsafe { MINORS.init() };
}

/// The number of a device among those of its driver, given back by dropping it.
pub(crate) struct Minor(u32);

impl Minor {
    /// Takes the lowest number that is free and below `count`; `ENOSPC` if there is none.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let mut minors = MINORS.lock();
        let free = minors.trailing_ones();
        if free as usize >= count.min(u64::BITS as usize) {
            return Err(ENOSPC);
        }
        *minors |= 1 << free;
        Ok(Self(free))
    }

    pub(crate) fn index(&self) -> usize {
        self.0 as usize
    }
}

impl Drop for Minor {
    fn drop(&mut self) {
        *MINORS.lock() &= !(1 << self.0);
    }
}

/// A file below `/dev` for a `T`. Dropping it takes the file away; who has it open keeps the `T`.
#[pin_data]
pub(crate) struct Node<T: MiscDevice> {
    #[pin]
    misc: MiscDeviceRegistration<T>,
    target: Arc<T>,
}

impl<T: MiscDevice> Node<T> {
    /// Puts the file there.
    pub(crate) fn new(name: &'static CStr, target: Arc<T>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            target,
            misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }

    /// What a file that is being opened is for.
    ///
    /// # Safety
    ///
    /// The registration must be that of a [`Node`].
    pub(crate) unsafe fn target(misc: &MiscDeviceRegistration<T>) -> Arc<T> {
        // SAFETY: The caller says that it is the field of a node. The node's `target` is initialised before and dropped
        // after it, so it is there while a file is being opened.
        let node = unsafe { &*kernel::container_of!(core::ptr::from_ref(misc), Node<T>, misc) };
        node.target.clone()
    }
}

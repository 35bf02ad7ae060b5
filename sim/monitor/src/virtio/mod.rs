//! The virtio monitor (virtio 1.4).

#[cfg_attr(not(test), allow(dead_code, reason = "the follower of the transport is what follows rings"))]
mod packed;
#[cfg_attr(not(test), allow(dead_code, reason = "the follower of the transport is what follows rings"))]
mod ring;
pub mod rules;
#[cfg_attr(not(test), allow(dead_code, reason = "the follower of the transport is what follows rings"))]
mod split;

use bringup_core::pci::{ConfigSpace, Function};
use bringup_core::{Monitor, Seen, Sight};

/// Holds a virtio driver to VIRTIO 1.4.
#[derive(Debug)]
pub struct VirtioMonitor {}

impl VirtioMonitor {
    /// A monitor, if the function is virtio.
    #[must_use]
    pub fn new(_function: &Function, _config: &ConfigSpace) -> Option<Self> {
        None
    }
}

impl Monitor for VirtioMonitor {
    fn see(&mut self, _sight: &mut Sight<'_>, _seen: Seen) {}
}

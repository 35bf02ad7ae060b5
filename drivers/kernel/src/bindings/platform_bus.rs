//! The platform bus's structures: devices that firmware describes, its nodes, and the tables of their drivers.

use super::{device, device_driver};
use crate::ffi::{c_int, CStr};
use crate::machine::platform::{Node, PlatformDevice};
use core::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

/// Puts a string with its NUL into the front of `N` bytes, for a table. A longer string fails the build.
pub const fn padded<const N: usize>(string: &CStr) -> [u8; N] {
    let bytes = string.to_bytes();
    assert!(bytes.len() < N, "the string does not fit into the table");
    let mut padded = [0; N];
    let mut at = 0;
    while at < bytes.len() {
        padded[at] = bytes[at];
        at += 1;
    }
    padded
}

/// A row of a driver's table of what it is compatible with, see [`crate::of::DeviceId`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct of_device_id {
    /// The string, up to a NUL.
    pub compatible: [u8; 128],
    /// Room for a pointer of the driver's.
    pub data: usize,
}

/// A row of a driver's table of hardware ids, see [`crate::acpi::DeviceId`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct acpi_device_id {
    /// The id, up to a NUL.
    pub id: [u8; 16],
    /// Room for a pointer of the driver's.
    pub driver_data: usize,
}

/// A node of firmware's tree. The nodes of a device live as long as the device.
pub struct fwnode_handle {
    /// What firmware says, about the device and all nodes of it.
    pub(crate) description: Rc<PlatformDevice>,
    /// Which of them is meant: the children to go down to from the device's own node.
    pub(crate) down: Vec<usize>,
    pub(crate) children: Vec<fwnode_handle>,
    pub(crate) dev: Cell<*mut device>,
}

impl fwnode_handle {
    /// Makes the handle of a device's own node, and those below.
    pub(crate) fn new(description: &Rc<PlatformDevice>) -> Self {
        Self::at(description, &description.node, Vec::new())
    }

    fn at(description: &Rc<PlatformDevice>, node: &Node, down: Vec<usize>) -> Self {
        let below = |(index, child)| {
            let mut down = down.clone();
            down.push(index);
            Self::at(description, child, down)
        };
        let children = node.children.iter().enumerate().map(below).collect();
        Self { description: description.clone(), down, children, dev: Cell::new(core::ptr::null_mut()) }
    }

    /// Says which device it belongs to, and those below do.
    pub(crate) fn set_device(&self, dev: *mut device) {
        self.dev.set(dev);
        for child in &self.children {
            child.set_device(dev);
        }
    }

    /// What firmware says about it.
    pub(crate) fn node(&self) -> &Node {
        self.down.iter().fold(&self.description.node, |node, index| &node.children[*index])
    }
}

/// The largest number of arguments of a reference.
pub(crate) const NR_FWNODE_REFERENCE_ARGS: usize = 16;

/// A reference to a node, with arguments.
pub struct fwnode_reference_args {
    /// The node, counted; null for none.
    pub(crate) fwnode: *mut fwnode_handle,
    pub(crate) nargs: usize,
    pub(crate) args: [u64; NR_FWNODE_REFERENCE_ARGS],
}

/// A platform device.
#[repr(C)]
pub struct platform_device {
    /// The device that it is.
    pub(crate) dev: device,
    /// What firmware says about it.
    pub(crate) fwnode: fwnode_handle,
}

/// Whether a driver is one for a device.
pub(crate) type Matches = fn(&PlatformDevice) -> bool;
/// Takes a device on; 0 or a negative error number.
pub(crate) type Probe = unsafe fn(*mut platform_device) -> c_int;
/// Is about to lose a device.
pub(crate) type Remove = unsafe fn(*mut platform_device);

/// A platform driver. It must not move while it is registered.
#[derive(Default)]
pub struct platform_driver {
    /// The part that is the same on all buses.
    pub(crate) driver: device_driver,
    /// Which devices it is for.
    pub(crate) matches: Cell<Option<Matches>>,
    /// Takes a device on.
    pub(crate) probe: Cell<Option<Probe>>,
    /// Is about to lose one.
    pub(crate) remove: Cell<Option<Remove>>,
    /// Its registration with the machine.
    pub(crate) registration: Cell<Option<u32>>,
}

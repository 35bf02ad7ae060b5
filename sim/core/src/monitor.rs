//! Monitors: checkers that sit on the waist, see what a driver does to one function, and hold it to the rules of its
//! specification. They see what the driver sees and change nothing.

use std::fmt;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, Permissions};

use crate::coverage::Coverage;
use crate::device::{Access, InterruptMode, Reset};
use crate::dma::{DeviceAccess, Fault, Mapping};
use crate::fabric::{Fabric, Port};
use crate::finding::{Finding, Place, Rule};
use crate::pci::{ConfigSpace, Function, command};
use crate::time::Nanos;

/// What a memory barrier of the driver's keeps in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// Loads before it stay before loads after it.
    Read,
    /// Stores before it stay before stores after it.
    Write,
    /// All.
    Full,
}

/// Something that a monitor sees of its function.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Seen {
    /// The CPU read configuration space, and was given this value.
    ConfigRead {
        /// In bytes from its start.
        offset: u16,
        /// 1, 2 or 4 bytes.
        width: u8,
        /// What the driver was given.
        value: u32,
    },
    /// The CPU writes configuration space; the function has not seen it yet.
    ConfigWrite {
        /// In bytes from its start.
        offset: u16,
        /// 1, 2 or 4 bytes.
        width: u8,
        /// What the driver writes.
        value: u32,
    },
    /// The CPU read from a BAR, and was given this value.
    BarRead {
        /// Where.
        at: Access,
        /// What the driver was given.
        value: u64,
    },
    /// The CPU writes to a BAR; the device has not seen it yet. Memory is as the driver left it.
    BarWrite {
        /// Where.
        at: Access,
        /// What the driver writes.
        value: u64,
    },
    /// The CPU loaded from memory that the monitor asked to watch (not where a door shows no loads).
    Load {
        /// The device's address.
        iova: u64,
        /// 1, 2, 4 or 8 bytes.
        len: u64,
    },
    /// The CPU stored to memory that the monitor asked to watch, which holds the new value now (not where a door shows no
    /// stores).
    Store {
        /// The device's address.
        iova: u64,
        /// 1, 2, 4 or 8 bytes.
        len: u64,
    },
    /// The CPU executed a memory barrier (not where a door shows none).
    Barrier(Barrier),
    /// Memory is no longer reachable for the device.
    Unmapped {
        /// The device's address.
        iova: u64,
        /// Bytes.
        len: u64,
    },
    /// The device is about to work on its own: it sees memory as it is now.
    Working,
    /// The device has worked, on its own or on behalf of an access; what it stored is in memory.
    Worked,
    /// The function raised an interrupt: a message of this vector, or its pin.
    Interrupt {
        /// The vector; `None` for the pin.
        vector: Option<u16>,
    },
    /// The function was reset through configuration space or by power.
    Reset(Reset),
    /// It was pulled out.
    Removed,
    /// Nothing in the machine goes on before time passes: no task runs, no device works.
    Idle,
    /// A driver was bound to the function.
    Bound,
    /// Its driver let go of it.
    Unbound,
}

/// A checker of one function.
///
/// It is told of everything in the order in which it happens. Like a device it is plain data, and never panics on what it
/// sees.
pub trait Monitor: Send {
    /// Something happened.
    fn see(&mut self, sight: &mut Sight<'_>, seen: Seen);
}

/// What a monitor may look at and do.
pub struct Sight<'a> {
    pub(crate) port: &'a mut Port,
    pub(crate) fabric: &'a mut Fabric,
    /// The driver's line, if it is known.
    pub(crate) place: Option<Place>,
}

impl fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sight").field("device", &self.port.name).finish_non_exhaustive()
    }
}

impl Sight<'_> {
    /// Virtual time, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.fabric.now()
    }

    /// The function's name in this machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.port.name
    }

    /// What the function is.
    #[must_use]
    pub fn function(&self) -> &Function {
        &self.port.function
    }

    /// Its configuration space as it is.
    #[must_use]
    pub fn config(&self) -> &ConfigSpace {
        &self.port.config
    }

    /// How its interrupts travel now.
    #[must_use]
    pub fn interrupt_mode(&self) -> InterruptMode {
        self.port.interrupt_mode()
    }

    /// Whether its driver lets it master the bus.
    #[must_use]
    pub fn is_bus_master(&self) -> bool {
        self.port.command(command::BUS_MASTER)
    }

    /// Whether a fault of the plan met the function: what it answered may not be its own.
    #[must_use]
    pub fn is_faulted(&self) -> bool {
        self.fabric.is_faulted(self.port.id)
    }

    /// The driver's line that is being executed, if it is known.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// Whether processors run while the device works: memory that the driver owns may change at any time, also while the monitor
    /// looks. The device does nothing meanwhile.
    #[must_use]
    pub fn is_concurrent(&self) -> bool {
        self.fabric.concurrent
    }

    /// Asks that the device's accesses to these bytes be kept, until [`forget_device`](Self::forget_device). `false` if too much is
    /// followed already.
    #[must_use]
    pub fn follow_device(&mut self, iova: u64, len: u64) -> bool {
        self.port.memory.follow(iova, len)
    }

    /// Ends that for whatever begins in these bytes.
    pub fn forget_device(&mut self, iova: u64, len: u64) {
        self.port.memory.forget_followed(iova, len);
    }

    /// Moves what was kept of accesses to the bytes that begin at an address to the end of `into`, in the order in which the device
    /// made them. `false` if they are not followed, or not all could be kept.
    #[must_use]
    pub fn take_device(&mut self, iova: u64, into: &mut Vec<DeviceAccess>) -> bool {
        self.port.memory.take_followed(iova, into)
    }

    /// Reads memory as the CPU left it, at the device's address, whether the device may master the bus or not. (The device may not see
    /// all of it yet.) Two or four bytes at a multiple of that are read at once. `false` if it is not mapped for the device to read
    /// or to write; `into` is as it was then. Nothing is filed and no time passes.
    #[must_use]
    pub fn peek(&self, iova: u64, into: &mut [u8]) -> bool {
        let Some((at, _)) = self.port.memory.locate(iova, into.len() as u64) else { return false };
        let memory = self.fabric.ram.memory();
        // An integer is loaded as a whole: another processor may be storing it.
        let whole = match into.len() {
            2 => memory.load::<u16>(at, Ordering::Acquire).ok().map(|value| into.copy_from_slice(&value.to_ne_bytes())),
            4 => memory.load::<u32>(at, Ordering::Acquire).ok().map(|value| into.copy_from_slice(&value.to_ne_bytes())),
            _ => None,
        };
        let found = whole.is_some() || memory.read_slice(into, at).is_ok();
        self.fabric.overlay(at.0, into);
        found
    }

    /// Why the device may not read (or write) these bytes; `None` if it may.
    #[must_use]
    pub fn fault(&self, iova: u64, len: u64, access: Permissions) -> Option<Fault> {
        if self.port.memory.resolve(iova, len, access).is_some() {
            return None;
        }
        self.port.io_space().fault(iova, len, access)
    }

    /// The live mapping that holds all of these bytes.
    #[must_use]
    pub fn mapping_at(&self, iova: u64, len: u64) -> Option<Mapping> {
        self.port.io_space().mapping_at(iova, len)
    }

    /// Asks to be told of the CPU's loads and stores in these bytes (and, as watching goes by pages, of others near them),
    /// until the memory is unmapped.
    pub fn watch_memory(&mut self, iova: u64, len: u64) {
        let Some(mapping) = self.port.io_space().mapping_at(iova, len) else { return };
        let physical = mapping.physical.0 + (iova - mapping.iova);
        self.fabric.watched.add(Watch { device: self.port.id, iova, physical, len });
    }

    /// Notes that a rule was put to the test: its subject came up and was judged, whatever the verdict.
    pub fn exercised(&mut self, rule: &'static Rule) {
        if let Some(exercised) = &mut self.fabric.exercised {
            exercised.insert(rule.id);
        }
    }

    /// Notes that the machine got into a state.
    #[inline]
    pub fn cover(&mut self, state: Coverage) {
        self.fabric.cover(state);
    }

    /// Notes that it can get into these.
    pub fn reachable(&mut self, states: &[Coverage]) {
        self.fabric.reachable(states);
    }

    /// Files a finding about the function's driver. The place, if the finding names none, is the line that is being executed.
    pub fn report(&mut self, finding: Finding) {
        let place = finding.place.or(self.place);
        self.fabric.report(finding.at_place(place).on_device(&self.port.name));
    }
}

/// Memory that a monitor watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Whose monitor.
    pub device: crate::trace::DeviceId,
    /// The device's address.
    pub iova: u64,
    /// The machine's address.
    pub physical: u64,
    /// Bytes.
    pub len: u64,
}

/// What monitors watch. Whoever runs the CPUs, and can see their loads and stores, looks here.
#[derive(Debug, Default)]
pub struct Watched {
    list: Vec<Watch>,
    /// Changes with the list.
    generation: u64,
}

impl Watched {
    fn add(&mut self, watch: Watch) {
        if !self.list.contains(&watch) {
            self.list.push(watch);
            self.generation += 1;
        }
    }

    /// Forgets what lies in a range of a device's addresses.
    pub(crate) fn forget(&mut self, device: crate::trace::DeviceId, iova: u64, len: u64) {
        let before = self.list.len();
        self.list.retain(|w| w.device != device || w.iova < iova || w.iova - iova >= len);
        self.generation += u64::from(before != self.list.len());
    }

    /// What is watched.
    #[must_use]
    pub fn list(&self) -> &[Watch] {
        &self.list
    }

    /// A number that changes whenever the list does.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

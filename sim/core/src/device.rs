//! The device's side of the waist: one object-safe trait, and the context through which a device reaches its machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::choice::Point;
use crate::dma::DeviceMemory;
use crate::fabric::{Fabric, Port};
use crate::finding::Place;
use crate::pci::Function;
use crate::time::Nanos;
use crate::trace::{DeviceId, Event};

/// An access to a BAR, checked by the bus: inside the BAR, naturally aligned, and one that the register has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Which BAR.
    pub bar: u8,
    /// In bytes from its start.
    pub offset: u64,
    /// 1, 2, 4 or 8 bytes.
    pub width: u8,
}

/// Why a device did not answer an access. The bus turns it into all ones, and into a finding where it is the driver's
/// mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no register there.
    NoRegister,
    /// The register has no access of this width.
    Width,
    /// The register cannot be written (now).
    ReadOnly,
    /// The register cannot be read (now).
    WriteOnly,
    /// Not yet: ask again after this many nanoseconds.
    NotYet(Nanos),
    /// The driver broke a rule of the device; says which.
    Misuse(&'static str),
}

/// What a device answers.
pub type Reply<T> = Result<T, Refusal>;

/// How a device is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Power was turned on, or the machine restarted.
    Power,
    /// Function-level reset (PCIe 6.0 §6.6.2).
    Function,
}

/// A device model. It is written once; the bench, the virtual machine, the sockets and the fuzzers all attach this type.
///
/// A device is plain data behind these methods. It reads no clock, draws no random numbers and starts no threads: what it
/// needs of the world it asks of the [`Cx`]. It never panics on what a driver does.
pub trait Device: Send {
    /// What it is. Asked once, when it is plugged in.
    fn function(&self) -> Function;

    /// The CPU reads a register.
    ///
    /// # Errors
    /// Says why it cannot be read; the CPU then sees all ones.
    fn read(&mut self, cx: &mut Cx<'_>, at: Access) -> Reply<u64>;

    /// The CPU writes a register.
    ///
    /// # Errors
    /// Says why it cannot be written; nothing changes then.
    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()>;

    /// Does a bounded quantum of its own work, because a wake-up it asked for with [`Cx::wake_in`] is due. A device with
    /// more to do asks for another one.
    fn work(&mut self, _cx: &mut Cx<'_>) {}

    /// Goes back to how it was when it was plugged in. Configuration space, masks and wake-ups are the bus's to reset.
    fn reset(&mut self, cx: &mut Cx<'_>, kind: Reset);
}

/// How a function's interrupts travel at the moment, as its driver set it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptMode {
    /// The level of its pin.
    Intx,
    /// Messages, from its MSI capability.
    Msi,
    /// Messages, from its MSI-X table.
    Msix,
}

/// Why a device's DMA did not happen. Nothing was transferred then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// Its driver did not enable bus mastering.
    #[error("bus mastering is off")]
    NoBusMaster,
    /// The address is not mapped for this device, or not in this direction.
    #[error("the address is not mapped for this access")]
    Fault,
    /// The fabric aborted it (a fault plan).
    #[error("aborted")]
    Aborted,
    /// The device was pulled out.
    #[error("the device is gone")]
    Gone,
}

/// Wakes a device from inside another one: [`Device::work`] of it is called when the other one's has ended, at the same virtual
/// time. It is of no use once the machine is gone.
#[derive(Clone, Debug)]
pub struct Waker {
    pub(crate) rung: Arc<AtomicU64>,
    pub(crate) device: DeviceId,
}

impl Waker {
    /// Asks for work of its device.
    pub fn wake(&self) {
        self.rung.fetch_or(1 << self.device.0, Ordering::Relaxed);
    }
}

/// What a device may do to its machine: DMA, interrupts, time and choices.
#[derive(Debug)]
pub struct Cx<'a> {
    pub(crate) port: &'a mut Port,
    pub(crate) fabric: &'a mut Fabric,
    /// The driver's line, while it accesses the device.
    pub(crate) place: Option<Place>,
}

impl Cx<'_> {
    /// Virtual time since the machine was turned on, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.fabric.now()
    }

    /// Asks for [`Device::work`] in `delay` nanoseconds. There is one wake-up: an earlier one stands.
    pub fn wake_in(&mut self, delay: Nanos) {
        let at = self.fabric.now().saturating_add(delay);
        self.port.wake_blamed = !self.port.memory_is_open && (self.port.wake.is_none() || self.port.wake_blamed);
        self.port.wake = Some(self.port.wake.map_or(at, |set| set.min(at)));
        self.fabric.next_wake = self.fabric.next_wake.min(at);
    }

    /// Reads the machine's memory at an I/O virtual address.
    ///
    /// # Errors
    /// When the driver did not allow it; `into` is as it was.
    pub fn dma_read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), DmaError> {
        self.fabric.dma_read(self.port, iova, into)
    }

    /// Writes the machine's memory at an I/O virtual address.
    ///
    /// # Errors
    /// When the driver did not allow it; the memory is as it was.
    pub fn dma_write(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaError> {
        self.fabric.dma_write(self.port, iova, from)
    }

    /// The device's view of memory, for code written against vm-memory. Accesses through it are gated by bus mastering, translated,
    /// checked and traced as its other DMA is. Of the behaviours of a fault plan, `corrupt` and `choose` meet what is written
    /// through it; what is read comes as it is.
    #[must_use]
    pub fn memory(&self) -> &DeviceMemory {
        // What it does there is not known: it may read what the processor stored, and the processor what it writes.
        self.fabric.choices.history.device_loads(self.port.id);
        self.fabric.choices.history.device_stores(self.port.id);
        let noting = self.fabric.trace.is_on() || !self.fabric.faults.is_empty();
        self.port.io_space().set_noting(noting);
        self.port.memory.set_logging(self.fabric.order.logging());
        &self.port.memory
    }

    /// How its interrupts travel now.
    #[must_use]
    pub fn interrupt_mode(&self) -> InterruptMode {
        self.port.interrupt_mode()
    }

    /// Sends a message for `vector`, if messages are enabled; a masked vector is pended.
    pub fn send_message(&mut self, vector: u16) {
        self.fabric.send_message(self.port, vector);
    }

    /// Asserts or deasserts its interrupt pin.
    pub fn set_intx(&mut self, asserted: bool) {
        self.fabric.set_intx(self.port, asserted);
    }

    /// Raises its only interrupt the way its driver set it up: a message for vector 0, or the pin.
    pub fn interrupt(&mut self) {
        if self.interrupt_mode() == InterruptMode::Intx { self.set_intx(true) } else { self.send_message(0) }
    }

    /// Says that the driver broke a rule of the device's documentation, where the device nevertheless answers. (Where it does
    /// not, it answers [`Refusal::Misuse`].)
    pub fn misuse(&mut self, what: &'static str) {
        self.fabric.misuse(self.port, what, self.place);
    }

    /// Whether there is a trace: what costs something to say to it need not be made up otherwise.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.fabric.trace.is_on()
    }

    /// Puts a frame of a network into the trace, if there is one: one that the driver `sent`, or one for it. `bytes` is only called
    /// then.
    pub fn packet(&mut self, sent: bool, bytes: impl FnOnce() -> Vec<u8>) {
        let device = self.port.id;
        self.fabric.event(|| Event::Packet { device, sent, bytes: bytes() });
    }

    /// A handle that wakes this device, for those it is connected with other than through the machine: the other end of its cable.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker { rung: Arc::clone(&self.fabric.rung), device: self.port.id }
    }

    /// Takes a choice: a number below `options` (2 to 256), 0 in the friendliest machine.
    pub fn choose(&mut self, options: u32) -> u32 {
        self.fabric.choices.choose(Point::Model, options)
    }
}

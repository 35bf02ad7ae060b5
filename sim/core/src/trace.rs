//! The trace: a typed log of what crossed the waist and what the machine did around it, and the forms in which it can be written.
//!
//! [`write_text`] and [`write_json_lines`] write the events as they are. [`Timeline`] lays them out in lanes for trace viewers.
//! [`write_pcapng`] writes the packets of network devices.

mod chrome;
mod fields;
mod lines;
pub mod pcapng;
mod perfetto;
mod timeline;

use std::fmt;

use crate::finding::Place;
use crate::time::Nanos;

pub use fields::Value;
pub use lines::{write_json_lines, write_text};
pub use pcapng::write_pcapng;
pub use timeline::Timeline;

/// Names a device in one machine: its place in the order in which devices were plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u16);

/// One event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields are named after the parts of the line they print; each variant is documented"
)]
pub enum Event {
    /// The CPU read configuration space.
    ConfigRead { device: DeviceId, offset: u16, width: u8, value: u32 },
    /// The CPU wrote configuration space.
    ConfigWrite { device: DeviceId, offset: u16, width: u8, value: u32 },
    /// The CPU read from a BAR.
    BarRead { device: DeviceId, bar: u8, offset: u64, width: u8, value: u64, place: Option<Place> },
    /// The CPU wrote to a BAR.
    BarWrite { device: DeviceId, bar: u8, offset: u64, width: u8, value: u64, place: Option<Place> },
    /// The device read memory.
    DmaRead { device: DeviceId, iova: u64, len: u64 },
    /// The device wrote memory.
    DmaWrite { device: DeviceId, iova: u64, len: u64 },
    /// Memory became visible to the device.
    Map { device: DeviceId, iova: u64, len: u64, direction: &'static str, kind: &'static str, place: Option<Place> },
    /// Memory is no longer visible to the device.
    Unmap { device: DeviceId, iova: u64, len: u64 },
    /// The device sent a message-signalled interrupt.
    Message { device: DeviceId, vector: u16 },
    /// A message was kept back because its vector is masked.
    Pended { device: DeviceId, vector: u16 },
    /// The device changed the level of its interrupt pin.
    Level { device: DeviceId, asserted: bool },
    /// A device worked because a wake-up it asked for was due.
    Work { device: DeviceId },
    /// A device was reset.
    Reset { device: DeviceId, kind: &'static str },
    /// A device was pulled out.
    Removed { device: DeviceId },
    /// A fault of the plan was applied.
    Fault { device: DeviceId, verb: &'static str, behaviour: &'static str },
    /// A network device carried a frame, whole and as a wire carries it: one that its driver `sent`, or one for its driver.
    Packet { device: DeviceId, sent: bool, bytes: Vec<u8> },
    /// An interrupt handler was entered.
    IrqEnter { irq: u32, name: String },
    /// An interrupt handler returned.
    IrqExit { irq: u32, result: &'static str },
    /// Another task runs.
    Switch { task: String },
    /// A task waits.
    Block { on: &'static str },
    /// A task was made runnable.
    Wake { task: String },
    /// A line of the kernel log.
    Log { level: u8, text: String },
    /// A module was loaded (`true`) or unloaded.
    Module { name: String, loaded: bool },
    /// A driver was asked to take a device; negative errno or 0.
    Probe { driver: String, device: String, result: i32 },
    /// A driver let go of a device.
    Unbind { driver: String, device: String },
    /// A system call of the bench's user side; `result` as the kernel returns it.
    Call { what: &'static str, file: String, result: i64 },
    /// An allocation was chosen to fail.
    AllocationFailed { size: usize, place: Option<Place> },
    /// A call into the kernel was chosen to fail.
    CallFailed { call: &'static str, place: Option<Place> },
    /// A timer's callback ran.
    Timer { name: &'static str },
    /// A rule was violated.
    Finding { rule: &'static str, what: String, place: Option<Place> },
}

impl Event {
    /// A short stable word for the kind of event, used by the JSON exporter.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConfigRead { .. } => "config-read",
            Self::ConfigWrite { .. } => "config-write",
            Self::BarRead { .. } => "bar-read",
            Self::BarWrite { .. } => "bar-write",
            Self::DmaRead { .. } => "dma-read",
            Self::DmaWrite { .. } => "dma-write",
            Self::Map { .. } => "map",
            Self::Unmap { .. } => "unmap",
            Self::Message { .. } => "msi",
            Self::Pended { .. } => "msi-pended",
            Self::Level { .. } => "intx",
            Self::Work { .. } => "device-work",
            Self::Reset { .. } => "reset",
            Self::Removed { .. } => "removed",
            Self::Fault { .. } => "fault",
            Self::Packet { .. } => "packet",
            Self::IrqEnter { .. } => "irq-enter",
            Self::IrqExit { .. } => "irq-exit",
            Self::Switch { .. } => "switch",
            Self::Block { .. } => "block",
            Self::Wake { .. } => "wake",
            Self::Log { .. } => "log",
            Self::Module { .. } => "module",
            Self::Probe { .. } => "probe",
            Self::Unbind { .. } => "unbind",
            Self::Call { .. } => "call",
            Self::AllocationFailed { .. } => "alloc-failed",
            Self::CallFailed { .. } => "call-failed",
            Self::Timer { .. } => "timer",
            Self::Finding { .. } => "finding",
        }
    }

    /// The device the event belongs to, if it belongs to one.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        match self {
            Self::ConfigRead { device, .. }
            | Self::ConfigWrite { device, .. }
            | Self::BarRead { device, .. }
            | Self::BarWrite { device, .. }
            | Self::DmaRead { device, .. }
            | Self::DmaWrite { device, .. }
            | Self::Map { device, .. }
            | Self::Unmap { device, .. }
            | Self::Message { device, .. }
            | Self::Pended { device, .. }
            | Self::Level { device, .. }
            | Self::Work { device }
            | Self::Reset { device, .. }
            | Self::Removed { device }
            | Self::Fault { device, .. }
            | Self::Packet { device, .. } => Some(*device),
            _ => None,
        }
    }
}

struct At(Option<Place>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => write!(f, "  ({}:{})", place.file(), place.line()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigRead { offset, width, value, .. } => {
                write!(f, "config read   {offset:#05x} -> {value:#0w$x}", w = hex_width(*width))
            }
            Self::ConfigWrite { offset, width, value, .. } => {
                write!(f, "config write  {offset:#05x} <- {value:#0w$x}", w = hex_width(*width))
            }
            Self::BarRead { bar, offset, width, value, place, .. } => {
                write!(f, "BAR{bar} read     {offset:#06x} -> {value:#0w$x}{}", At(*place), w = hex_width(*width))
            }
            Self::BarWrite { bar, offset, width, value, place, .. } => {
                write!(f, "BAR{bar} write    {offset:#06x} <- {value:#0w$x}{}", At(*place), w = hex_width(*width))
            }
            Self::DmaRead { iova, len, .. } => write!(f, "DMA read      {iova:#x} +{len:#x}"),
            Self::DmaWrite { iova, len, .. } => write!(f, "DMA write     {iova:#x} +{len:#x}"),
            Self::Map { iova, len, direction, kind, place, .. } => {
                write!(f, "map           {iova:#x} +{len:#x} {direction}, {kind}{}", At(*place))
            }
            Self::Unmap { iova, len, .. } => write!(f, "unmap         {iova:#x} +{len:#x}"),
            Self::Message { vector, .. } => write!(f, "MSI           vector {vector}"),
            Self::Pended { vector, .. } => write!(f, "MSI pended    vector {vector}"),
            Self::Level { asserted, .. } => {
                write!(f, "INTx          {}", if *asserted { "asserted" } else { "deasserted" })
            }
            Self::Work { .. } => write!(f, "device works"),
            Self::Reset { kind, .. } => write!(f, "reset         {kind}"),
            Self::Removed { .. } => write!(f, "removed"),
            Self::Fault { verb, behaviour, .. } => write!(f, "fault         {verb}: {behaviour}"),
            Self::Packet { sent, bytes, .. } => {
                write!(f, "packet        {} {} bytes", if *sent { "sent," } else { "received," }, bytes.len())
            }
            Self::IrqEnter { irq, name } => write!(f, "irq {irq} enter   {name}"),
            Self::IrqExit { irq, result } => write!(f, "irq {irq} exit    {result}"),
            Self::Switch { task } => write!(f, "switch to     {task}"),
            Self::Block { on } => write!(f, "waits         {on}"),
            Self::Wake { task } => write!(f, "wakes         {task}"),
            Self::Log { text, .. } => write!(f, "log           {text}"),
            Self::Module { name, loaded } => {
                write!(f, "{} {name}", if *loaded { "load         " } else { "unload       " })
            }
            Self::Probe { driver, device, result } => write!(f, "probe         {driver} {device} -> {result}"),
            Self::Unbind { driver, device } => write!(f, "unbind        {driver} {device}"),
            Self::Call { what, file, result } => write!(f, "{what:<13} {file} -> {result}"),
            Self::AllocationFailed { size, place } => write!(f, "no memory     for {size} bytes{}", At(*place)),
            Self::CallFailed { call, place } => write!(f, "fails         {call}{}", At(*place)),
            Self::Timer { name } => write!(f, "timer         {name}"),
            Self::Finding { rule, what, place } => write!(f, "FINDING       {rule}: {what}{}", At(*place)),
        }
    }
}

fn hex_width(bytes: u8) -> usize {
    usize::from(bytes) * 2 + 2
}

/// A number that stands for a sequence of numbers. The same on every machine and in every process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds a number to the sequence.
    #[inline]
    pub fn fold(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let wide = u128::from(mixed) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = (wide as u64) ^ ((wide >> 64) as u64) ^ self.0.rotate_left(23);
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

impl Event {
    /// Whether it is an access of the processor's.
    #[inline]
    fn is_of_cpu(&self) -> bool {
        matches!(
            self,
            Self::ConfigRead { .. } | Self::ConfigWrite { .. } | Self::BarRead { .. } | Self::BarWrite { .. }
        )
    }

    /// Adds what a waist operation did to a digest: its kind, device, address and value.
    #[inline]
    pub fn fold_into(&self, digest: &mut Digest) {
        let (kind, device, place, value) = match *self {
            Self::ConfigRead { device, offset, width, value } => {
                (1, device, pair(0, offset.into(), width), value.into())
            }
            Self::ConfigWrite { device, offset, width, value } => {
                (2, device, pair(0, offset.into(), width), value.into())
            }
            Self::BarRead { device, bar, offset, width, value, .. } => (3, device, pair(bar, offset, width), value),
            Self::BarWrite { device, bar, offset, width, value, .. } => (4, device, pair(bar, offset, width), value),
            Self::DmaRead { device, iova, len } => (5, device, iova, len),
            Self::DmaWrite { device, iova, len } => (6, device, iova, len),
            Self::Map { device, iova, len, .. } => (7, device, iova, len),
            Self::Unmap { device, iova, len } => (8, device, iova, len),
            Self::Message { device, vector } => (9, device, vector.into(), 0),
            Self::Pended { device, vector } => (10, device, vector.into(), 0),
            Self::Level { device, asserted } => (11, device, asserted.into(), 0),
            Self::Work { device } => (12, device, 0, 0),
            Self::Reset { device, .. } => (13, device, 0, 0),
            Self::Removed { device } => (14, device, 0, 0),
            // What is no waist operation has no part in it.
            _ => return,
        };
        digest.fold(kind << 16 | u64::from(device.0));
        digest.fold(place);
        digest.fold(value);
    }
}

/// A place in a BAR as one number.
#[inline]
fn pair(bar: u8, offset: u64, width: u8) -> u64 {
    offset.rotate_left(16) ^ u64::from(bar) << 8 ^ u64::from(width)
}

/// An event with its circumstances.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The number of waist operations before it.
    pub position: u64,
    /// When.
    pub at: Nanos,
    /// The task that was running, by its number; 0 is the machine itself.
    pub task: u16,
    /// The event.
    pub event: Event,
}

impl Record {
    /// The name of the device that the event belongs to; `None` if it belongs to none, or `names` does not know it.
    #[must_use]
    pub fn device<'a>(&self, names: &'a [String]) -> Option<&'a str> {
        names.get(usize::from(self.event.device()?.0)).map(String::as_str)
    }
}

/// The event log. When it is off, nothing is built or stored.
#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    position: u64,
    /// What happened so far, as one number.
    digest: Digest,
    records: Vec<Record>,
}

impl Trace {
    /// Turns recording on or off.
    pub fn enable(&mut self, on: bool) {
        self.on = on;
    }

    /// Whether events are recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Counts one waist operation and records it if the trace is on.
    #[inline]
    pub fn operation(&mut self, at: Nanos, task: u16, event: Event) {
        self.position += 1;
        // What a device does by itself is the same whichever task it happens in.
        if event.is_of_cpu() {
            self.digest.fold(u64::from(task));
        }
        event.fold_into(&mut self.digest);
        if self.on {
            self.store(at, task, event);
        }
    }

    /// Records an event that is no waist operation, if the trace is on.
    #[inline]
    pub fn event(&mut self, at: Nanos, task: u16, event: impl FnOnce() -> Event) {
        if self.on {
            self.store(at, task, event());
        }
    }

    #[cold]
    fn store(&mut self, at: Nanos, task: u16, event: Event) {
        self.records.push(Record { position: self.position, at, task, event });
    }

    /// How many waist operations there were; counted whether or not the trace is on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The waist operations so far as one number, kept whether or not the trace is on: two lives with the same number did the
    /// same, in the same order, in the same tasks. Moments and places do not count.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// What was recorded.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Takes what was recorded.
    #[must_use]
    pub fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }
}

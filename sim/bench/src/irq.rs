//! The interrupt controller: irq numbers, handlers, and what waits to be delivered.

use std::collections::BTreeMap;
use std::sync::Arc;

use bringup_core::{DeviceId, Nanos, Place};

use crate::ledger::LedgerId;
use crate::machine::Callback;

/// What stands behind an irq number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A pin, shared by all devices wired to this line.
    Line,
    /// A message of one device's vector.
    Message { device: DeviceId, vector: u16, maskable: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Handler {
    pub(crate) id: u32,
    pub(crate) name: &'static str,
    /// How trace and findings call its context.
    pub(crate) label: Arc<str>,
    pub(crate) primary: Callback,
    pub(crate) thread: Option<Callback>,
    pub(crate) oneshot: bool,
    pub(crate) shared: bool,
    pub(crate) device: Option<DeviceId>,
    pub(crate) ledger: LedgerId,
    /// The threaded part is queued or runs.
    pub(crate) thread_active: bool,
    /// It was asked for again meanwhile.
    pub(crate) thread_again: bool,
    pub(crate) place: Place,
}

/// A handler that was taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freed {
    pub(crate) name: &'static str,
    /// Where it was registered.
    pub(crate) place: Place,
    /// When it was taken back.
    pub(crate) at: Nanos,
}

#[derive(Debug)]
pub(crate) struct Desc {
    pub(crate) source: Source,
    pub(crate) handlers: Vec<Handler>,
    /// Messages that arrived and were not handled yet; the hardware holds at most two (one in service, one requested).
    pub(crate) pending: u8,
    /// What their devices stored up to here is in memory.
    pub(crate) stamps: [u32; 2],
    /// `disable_irq` depth, threaded one-shot handlers that run, and lines that nobody cares for.
    pub(crate) disabled: u32,
    /// Handlers of it are on some stack.
    pub(crate) running: u32,
    /// Consecutive deliveries that no handler claimed.
    pub(crate) unhandled: u32,
    /// It was raised already when the first handler was registered, and none has claimed it since.
    pub(crate) early: bool,
    /// The last handler that was taken back.
    pub(crate) freed: Option<Freed>,
    /// How many accesses to registers there were when the message that waits came.
    pub(crate) raised_at: u64,
    /// The driver used registers between the last message and its handler: it may have seen to it without an interrupt.
    pub(crate) seen_to: bool,
    /// How many were delivered, how many of these were seen to before, and how many a handler claimed.
    pub(crate) delivered: u64,
    pub(crate) excused: u64,
    pub(crate) claimed: u64,
}

/// Names the interrupt vectors that a device was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VectorsId {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) kind: crate::rt::irq::IrqKind,
    pub(crate) ledger: LedgerId,
}

#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    pub(crate) descs: BTreeMap<u32, Desc>,
    /// How many handlers are on the running stack.
    depth: u32,
    /// All messages that wait, over all irqs.
    pub(crate) pending: u32,
}

/// Message irqs are numbered from here, as on a PC with an I/O APIC of 24 pins.
const FIRST_MESSAGE: u32 = 24;

impl Interrupts {
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    pub(crate) fn enter(&mut self) {
        self.depth += 1;
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The irq number of a device's pin.
    pub(crate) fn line_of(line: u8) -> u32 {
        u32::from(line)
    }

    pub(crate) fn ensure_line(&mut self, irq: u32) {
        self.descs.entry(irq).or_insert_with(|| Desc::new(Source::Line));
    }

    /// Takes `count` consecutive irq numbers for a device's messages.
    pub(crate) fn take_messages(&mut self, device: DeviceId, count: u32, maskable: bool) -> u32 {
        self.take_run(device, count, maskable, 1)
    }

    /// As [`take_messages`](Self::take_messages), the first one a multiple of the power of two that `count` fits in: MSI changes the low bits of its data.
    pub(crate) fn take_messages_aligned(&mut self, device: DeviceId, count: u32, maskable: bool) -> u32 {
        self.take_run(device, count, maskable, count.next_power_of_two())
    }

    fn take_run(&mut self, device: DeviceId, count: u32, maskable: bool, align: u32) -> u32 {
        // The lowest free run: numbers are used again, as Linux's are.
        let mut first = FIRST_MESSAGE.next_multiple_of(align);
        while (first..first + count).any(|irq| self.descs.contains_key(&irq)) {
            first += align;
        }
        for vector in 0..count {
            let source = Source::Message { device, vector: vector as u16, maskable };
            self.descs.insert(first + vector, Desc::new(source));
        }
        first
    }
}

impl Desc {
    fn new(source: Source) -> Self {
        Self {
            source,
            handlers: Vec::new(),
            pending: 0,
            stamps: [0; 2],
            disabled: 0,
            running: 0,
            unhandled: 0,
            early: false,
            freed: None,
            raised_at: 0,
            seen_to: false,
            delivered: 0,
            excused: 0,
            claimed: 0,
        }
    }
}

//! A virtqueue as the device sees it: set up by the driver's registers, then live in one of the two layouts (virtio 1.4 §2.6).

use std::collections::VecDeque;

use bringup_core::{Cx, DmaError, Nanos};
use bringup_spec::virtio::{feature, pci::NO_VECTOR, ring};

use super::packed::Packed;
use super::split::Split;

/// A piece of memory that the driver put into a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its address for the device.
    pub address: u64,
    /// In bytes.
    pub len: u32,
    /// For the device to write; else to read.
    pub writable: bool,
}

/// A chain of elements that the driver made available: readable ones first, then writable ones. It is given back with
/// [`Host::push`](super::Host::push).
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    /// Split: the index of its first descriptor. Packed: its buffer id.
    pub(super) id: u16,
    /// How many slots of a packed ring it takes.
    pub(super) slots: u16,
    /// Counts the chains of the queue, in the order in which they were made available.
    pub(super) serial: u64,
    /// How often the queue had been reset when it was taken.
    epoch: u32,
    elements: Vec<Element>,
    /// How many of them are readable.
    readable: usize,
    readable_len: u64,
    writable_len: u64,
}

impl Chain {
    /// Sorts out what was found in a ring; `None` if a readable element comes after a writable one, or there are none.
    pub(super) fn new(id: u16, slots: u16, elements: Vec<Element>) -> Option<Self> {
        let readable = elements.iter().take_while(|element| !element.writable).count();
        let (front, back) = elements.split_at(readable);
        if elements.is_empty() || back.iter().any(|element| !element.writable) {
            return None;
        }
        let sum = |part: &[Element]| part.iter().map(|element| u64::from(element.len)).sum();
        let (readable_len, writable_len) = (sum(front), sum(back));
        Some(Self { id, slots, serial: 0, epoch: 0, readable, readable_len, writable_len, elements })
    }

    /// How many bytes the device may read.
    #[must_use]
    pub fn readable_len(&self) -> u64 {
        self.readable_len
    }

    /// How many bytes the device may write.
    #[must_use]
    pub fn writable_len(&self) -> u64 {
        self.writable_len
    }

    /// Its elements.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// What it takes of a ring's slots, as far as that can be told.
    fn takes(&self) -> u32 {
        u32::from(self.slots.max(1))
    }

    /// How many of its bytes can be read from and written to stay; what they are is no longer needed.
    pub(super) fn strip(&mut self) -> Vec<Element> {
        self.readable = 0;
        std::mem::take(&mut self.elements)
    }

    pub(super) fn into_elements(self) -> Vec<Element> {
        self.elements
    }

    /// Calls `access` with address and range of the buffer for each piece of `len` bytes from `offset` of `elements`. Gives how
    /// many bytes there were.
    fn pieces(
        elements: &[Element],
        mut offset: u64,
        len: usize,
        mut access: impl FnMut(u64, std::ops::Range<usize>) -> Result<(), DmaError>,
    ) -> Result<usize, DmaError> {
        let mut done = 0;
        for element in elements {
            if done == len {
                break;
            }
            let size = u64::from(element.len);
            if offset >= size {
                offset -= size;
                continue;
            }
            let piece = (size - offset).min((len - done) as u64) as usize;
            // A driver may give an address so high that the piece wraps: nothing is mapped there.
            let address = element.address.checked_add(offset).ok_or(DmaError::Fault)?;
            access(address, done..done + piece)?;
            done += piece;
            offset = 0;
        }
        Ok(done)
    }

    pub(super) fn read(&self, cx: &mut Cx<'_>, offset: u64, into: &mut [u8]) -> Result<usize, DmaError> {
        let part = self.elements.get(..self.readable).unwrap_or_default();
        let len = into.len();
        Self::pieces(part, offset, len, |address, range| match into.get_mut(range) {
            Some(piece) => cx.dma_read(address, piece),
            None => Ok(()),
        })
    }

    pub(super) fn write(&self, cx: &mut Cx<'_>, offset: u64, from: &[u8]) -> Result<usize, DmaError> {
        let part = self.elements.get(self.readable..).unwrap_or_default();
        Self::pieces(part, offset, from.len(), |address, range| match from.get(range) {
            Some(piece) => cx.dma_write(address, piece),
            None => Ok(()),
        })
    }
}

/// The ring cannot be right: only a reset mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What the driver said about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    /// In elements.
    pub(super) size: u16,
    /// The MSI-X vector of its interrupts.
    pub(super) vector: u16,
    /// Descriptor area.
    pub(super) descriptors: u64,
    /// Driver area.
    pub(super) driver: u64,
    /// Device area.
    pub(super) device: u64,
}

/// A live ring in one of the two layouts.
#[derive(Debug)]
enum Ring {
    Split(Split),
    Packed(Packed),
}

macro_rules! on_ring {
    ($ring:expr, $($call:tt)*) => {
        match $ring {
            Ring::Split(ring) => ring.$($call)*,
            Ring::Packed(ring) => ring.$($call)*,
        }
    };
}

/// The most elements that a chain may have, in a ring of so many slots. A driver is to keep to the size of the ring (§2.7.5.3.1);
/// with tables, what exists goes beyond it for small rings.
pub(super) fn longest_chain(size: u16) -> usize {
    usize::from(size).max(1024)
}

/// The most element lists that a queue keeps for use again.
const MOST_SPARE: usize = 256;
/// The longest of them.
const MOST_KEPT: usize = 1024;

/// A queue.
#[derive(Debug)]
pub struct Queue {
    max_size: u16,
    /// How often it was reset.
    epoch: u32,
    /// Until when, in virtual time, it says that it is being reset.
    pub(super) resetting_until: Option<Nanos>,
    /// How many slots (packed) or chains (split) were taken and not given back.
    outstanding: u32,
    pub(super) setup: Setup,
    /// `queue_enable` was written, and the queue was not reset since.
    pub(super) enabled: bool,
    ring: Option<Ring>,
    in_order: bool,
    broken: bool,
    /// The serial number of the next chain that is taken.
    next_taken: u64,
    /// With IN_ORDER: the serial number of the next chain that may be given back.
    next_given: u64,
    /// With IN_ORDER: chains that wait for earlier ones.
    held: VecDeque<(Chain, u32)>,
    /// Something was given back since the driver was last interrupted, or found not to want it.
    given: bool,
    /// The device found the ring empty in this quantum.
    drained: bool,
    spare: Vec<Vec<Element>>,
}

impl Queue {
    pub(super) fn new(max_size: u16) -> Self {
        // Only with packed rings may a size be no power of two (virtio 1.4 §4.1.4.3.1).
        let size = if max_size == 0 { 0 } else { 1 << max_size.ilog2() };
        Self {
            max_size,
            epoch: 0,
            resetting_until: None,
            outstanding: 0,
            setup: Setup { size, vector: NO_VECTOR, descriptors: 0, driver: 0, device: 0 },
            enabled: false,
            ring: None,
            in_order: false,
            broken: false,
            next_taken: 0,
            next_given: 0,
            held: VecDeque::new(),
            given: false,
            drained: false,
            spare: Vec::new(),
        }
    }

    /// The largest size it can have.
    #[must_use]
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// Whether the driver enabled it and set DRIVER_OK.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ring.is_some() && !self.broken
    }

    /// Makes an enabled queue live, with the features that were negotiated.
    pub(super) fn start(&mut self, features: u128) {
        let has = |bit: u32| features >> bit & 1 != 0;
        if !self.enabled || self.ring.is_some() {
            return;
        }
        self.in_order = has(feature::IN_ORDER);
        let ring = if has(feature::RING_PACKED) {
            (1..=ring::MAX_SIZE).contains(&self.setup.size).then(|| Ring::Packed(Packed::new(&self.setup, features)))
        } else {
            Split::new(&self.setup, features).map(Ring::Split)
        };
        self.broken = ring.is_none();
        self.ring = ring;
    }

    /// Back to how it was before the driver touched it.
    pub(super) fn reset(&mut self) {
        *self = Self { epoch: self.epoch.wrapping_add(1), ..Self::new(self.max_size) };
    }

    /// Packed rings were negotiated: sizes need not be powers of two.
    pub(super) fn allow_any_size(&mut self) {
        if !self.enabled && self.setup.size == 1 << self.max_size.max(1).ilog2() {
            self.setup.size = self.max_size;
        }
    }

    /// Whether the set-up made no ring.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// A list of elements to fill, used before if possible.
    fn blank(&mut self) -> Vec<Element> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn keep(&mut self, mut elements: Vec<Element>) {
        if self.spare.len() < MOST_SPARE && (1..=MOST_KEPT).contains(&elements.capacity()) {
            elements.clear();
            self.spare.push(elements);
        }
    }

    pub(super) fn pop(&mut self, cx: &Cx<'_>) -> Result<Option<Chain>, Broken> {
        if self.broken {
            return Ok(None);
        }
        let elements = self.blank();
        let Some(ring) = &mut self.ring else { return Ok(None) };
        match on_ring!(ring, pop(cx.memory(), elements)) {
            // A ring of so many slots has no room for more chains at a time.
            Ok(Some(chain)) if self.outstanding + chain.takes() > u32::from(self.setup.size) => {
                self.broken = true;
                Err(Broken)
            }
            Ok(Some(mut chain)) => {
                chain.serial = self.next_taken;
                chain.epoch = self.epoch;
                self.next_taken += 1;
                self.outstanding += chain.takes();
                Ok(Some(chain))
            }
            Ok(None) => {
                self.drained = true;
                Ok(None)
            }
            Err(Broken) => {
                self.broken = true;
                Err(Broken)
            }
        }
    }

    pub(super) fn unpop(&mut self, chain: Chain) {
        if self.broken || chain.epoch != self.epoch || chain.serial.checked_add(1) != Some(self.next_taken) {
            return;
        }
        if let Some(ring) = &mut self.ring {
            on_ring!(ring, unpop(&chain));
            self.next_taken -= 1;
            self.outstanding = self.outstanding.saturating_sub(chain.takes());
        }
        self.keep(chain.into_elements());
    }

    pub(super) fn push(&mut self, cx: &Cx<'_>, chain: Chain, written: u32) -> Result<(), Broken> {
        if self.broken || chain.epoch != self.epoch {
            return Ok(());
        }
        if !self.in_order {
            return self.give(cx, [(chain, written)]);
        }
        self.hold(chain, written);
        self.give_held(cx)
    }

    /// As [`push`](Self::push), for chains that the driver sees together.
    pub(super) fn push_all(&mut self, cx: &Cx<'_>, mut chains: Vec<(Chain, u32)>) -> Result<(), Broken> {
        if self.broken {
            return Ok(());
        }
        chains.retain(|(chain, _)| chain.epoch == self.epoch);
        if !self.in_order {
            return self.give(cx, chains);
        }
        for (chain, written) in chains {
            self.hold(chain, written);
        }
        self.give_held(cx)
    }

    /// Keeps a chain until those before it are given back, too.
    fn hold(&mut self, mut chain: Chain, written: u32) {
        let elements = chain.strip();
        self.keep(elements);
        let at = self.held.partition_point(|(held, _)| held.serial < chain.serial);
        self.held.insert(at, (chain, written));
    }

    fn give_held(&mut self, cx: &Cx<'_>) -> Result<(), Broken> {
        let ready = self.held.iter().zip(self.next_given..).take_while(|((chain, _), next)| chain.serial == *next);
        let ready = ready.count();
        self.next_given += ready as u64;
        let ready: Vec<(Chain, u32)> = self.held.drain(..ready).collect();
        self.give(cx, ready)
    }

    fn give(&mut self, cx: &Cx<'_>, chains: impl IntoIterator<Item = (Chain, u32)>) -> Result<(), Broken> {
        let memory = cx.memory();
        for (chain, written) in chains {
            let Some(ring) = &mut self.ring else { return Ok(()) };
            let written = written.min(u32::try_from(chain.writable_len).unwrap_or(u32::MAX));
            self.broken |= on_ring!(ring, push(memory, &chain, written)).is_err();
            self.outstanding = self.outstanding.saturating_sub(chain.takes());
            self.given = true;
            self.keep(chain.into_elements());
        }
        if let Some(ring) = &mut self.ring {
            self.broken |= on_ring!(ring, publish(memory)).is_err();
        }
        if self.broken { Err(Broken) } else { Ok(()) }
    }

    /// Asks not to be kicked while the device works anyway.
    pub(super) fn quiet(&mut self, cx: &Cx<'_>) {
        self.drained = false;
        if let (Some(ring), false) = (&mut self.ring, self.broken) {
            self.broken |= on_ring!(ring, quiet(cx.memory())).is_err();
        }
    }

    /// Asks to be kicked again. `true` if the device had emptied the ring and there is something in it meanwhile.
    pub(super) fn listen(&mut self, cx: &Cx<'_>) -> bool {
        let (Some(ring), false) = (&mut self.ring, self.broken) else { return false };
        match on_ring!(ring, listen(cx.memory())) {
            Ok(more) => more && self.drained,
            Err(Broken) => {
                self.broken = true;
                false
            }
        }
    }

    /// Whether the driver wants to be interrupted for what was given back since the last time.
    pub(super) fn take_interrupt(&mut self, cx: &Cx<'_>) -> bool {
        let (Some(ring), false, true) = (&mut self.ring, self.broken, self.given) else { return false };
        self.given = false;
        match on_ring!(ring, wants_interrupt(cx.memory())) {
            Ok(wanted) => wanted,
            Err(Broken) => {
                self.broken = true;
                false
            }
        }
    }
}

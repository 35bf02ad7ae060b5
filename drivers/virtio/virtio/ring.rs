// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A virtqueue as its driver sees it (virtio 1.4 §2.6 to §2.8).
//!
//! ```text
//! add, add, …   chains are written to memory; the device does not see them yet
//! publish       the device sees them all; says whether it wants a kick
//! pop           takes back what the device has used
//! ```
//!
//! A queue holds chains of segments. Each has a token of the caller's, which comes back with it.

use super::feature;
use kernel::{
    device::{Bound, Device},
    dma::{Coherent, DmaAddress},
    io::{io_project, Io},
    prelude::*,
    sync::barrier::{dma_mb, mb, Full, Read, Write},
};

mod packed;
mod split;

/// The largest size of a queue, in elements.
pub(crate) const MAX_SIZE: u16 = 32768;

/// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

/// Memory that the device sees at [`address`](Self::address), in little-endian accesses of one width.
///
/// The offsets are the queue's own, so an error is a mistake of the queue's and not of the device.
pub(crate) trait Memory: Sized {
    /// Where the device sees it.
    fn address(&self) -> DmaAddress;
    fn read16(&self, at: usize) -> Result<u16>;
    fn read32(&self, at: usize) -> Result<u32>;
    fn write16(&self, at: usize, value: u16) -> Result;
    /// Writes bytes in no particular order.
    fn write_bytes(&self, at: usize, bytes: &[u8]) -> Result;
    /// How many bytes there are.
    fn len(&self) -> usize;
}

/// Memory of a device behind a bus.
pub(crate) type DmaMemory = Coherent<[u8]>;

impl Memory for DmaMemory {
    fn address(&self) -> DmaAddress {
        self.dma_address()
    }

    fn read16(&self, at: usize) -> Result<u16> {
        let value = io_project!(self, [try: at..at.wrapping_add(2)]).try_cast::<u16>()?;
        Ok(u16::from_le(value.read_val()))
    }

    fn read32(&self, at: usize) -> Result<u32> {
        let value = io_project!(self, [try: at..at.wrapping_add(4)]).try_cast::<u32>()?;
        Ok(u32::from_le(value.read_val()))
    }

    fn write16(&self, at: usize, value: u16) -> Result {
        let place = io_project!(self, [try: at..at.wrapping_add(2)]).try_cast::<u16>()?;
        place.write_val(value.to_le());
        Ok(())
    }

    fn write_bytes(&self, at: usize, bytes: &[u8]) -> Result {
        io_project!(self, [try: at..at.wrapping_add(bytes.len())]).copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> usize {
        self.size()
    }
}

/// A piece of memory for the device to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where the device sees it.
    pub(crate) address: DmaAddress,
    /// In bytes.
    pub(crate) len: u32,
}

/// A chain that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion<T> {
    /// What it was added with.
    pub(crate) token: T,
    /// How many bytes the device wrote, from the start of the writable segments; never more than they hold.
    pub(crate) written: u32,
}

/// What a queue is made like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Elements: for a split queue a power of two from 2, for a packed one any number from 1; to 32768.
    pub(crate) size: u16,
    /// The features that were negotiated.
    pub(crate) features: u64,
    /// How many segments an indirect table holds; 0 for no tables.
    pub(crate) table: u16,
}

impl Shape {
    fn has(&self, bit: u32) -> bool {
        self.features & feature::bit(bit) != 0
    }

    /// Whether there can be such a queue.
    fn check(&self) -> Result {
        let fits = if self.has(feature::RING_PACKED) {
            (1..=MAX_SIZE).contains(&self.size)
        } else {
            (2..=MAX_SIZE).contains(&self.size) && self.size.is_power_of_two()
        };
        if fits {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Bytes of descriptor area, driver area, device area, and indirect tables (0 if there are none).
    pub(crate) fn areas(&self) -> [usize; 4] {
        let size = usize::from(self.size);
        let tables = if self.has(feature::INDIRECT_DESC) {
            size * usize::from(self.table) * DESCRIPTOR
        } else {
            0
        };
        if self.has(feature::RING_PACKED) {
            [size * DESCRIPTOR, 4, 4, tables]
        } else {
            [size * DESCRIPTOR, 6 + 2 * size, 6 + 8 * size, tables]
        }
    }
}

/// The parts of a queue's memory, zeroed.
pub(crate) struct Areas<M> {
    /// Descriptor table, or packed ring. Aligned to 16.
    pub(crate) descriptors: M,
    /// Available ring, or driver event suppression. Aligned to 4.
    pub(crate) driver: M,
    /// Used ring, or device event suppression. Aligned to 4.
    pub(crate) device: M,
    /// Indirect tables.
    pub(crate) tables: Option<M>,
}

/// A chain that the device has.
#[derive(Clone, Copy)]
struct InFlight<T> {
    token: T,
    /// Descriptors or slots that it takes.
    slots: u16,
    /// Bytes that the device may write.
    writable: u32,
}

/// What both layouts keep.
struct State<M, T> {
    shape: Shape,
    areas: Areas<M>,
    /// By id: the first descriptor of a split queue's chain, the buffer id of a packed one's.
    in_flight: KVec<Option<InFlight<T>>>,
    /// Chains that the device has.
    count: u16,
    /// Descriptors or slots that are free.
    free: u16,
    /// With IN_ORDER: the id of the chain that must come back next.
    oldest: u16,
    /// With IN_ORDER: the id of the last chain of a batch that is being handed out, and what was written to it.
    batch: Option<(u16, u32)>,
    /// The device broke the rules.
    broken: bool,
}

impl<M: Memory, T: Copy> State<M, T> {
    fn new(shape: Shape, areas: Areas<M>) -> Result<Self> {
        shape.check()?;
        let [descriptors, driver, device, tables] = shape.areas();
        let sizes = [
            (&areas.descriptors, descriptors),
            (&areas.driver, driver),
            (&areas.device, device),
        ];
        if sizes.iter().any(|(area, size)| area.len() < *size)
            || areas.tables.as_ref().map_or(0, Memory::len) < tables
        {
            return Err(EINVAL);
        }
        Ok(Self {
            in_flight: KVec::from_elem(None, usize::from(shape.size), GFP_KERNEL)?,
            count: 0,
            free: shape.size,
            oldest: 0,
            batch: None,
            broken: false,
            shape,
            areas,
        })
    }

    /// The device broke the rules: nothing it says counts any more.
    fn fail(&mut self) -> Error {
        self.broken = true;
        EIO
    }

    fn check(&self) -> Result {
        if self.broken {
            Err(EIO)
        } else {
            Ok(())
        }
    }

    /// Whether a chain of so many segments goes into a table, and how many descriptors or slots it takes.
    fn plan(&self, segments: usize) -> Result<(bool, u16)> {
        self.check()?;
        if segments == 0 {
            return Err(EINVAL);
        }
        let table = self.areas.tables.is_some()
            && segments > 1
            && segments <= usize::from(self.shape.table)
            // A chain is no longer than the queue, tables included (§2.7.5.3.1, §2.8.19).
            && segments <= usize::from(self.shape.size);
        let slots = if table { 1 } else { segments };
        if slots > usize::from(self.shape.size) {
            return Err(EINVAL);
        }
        let slots = slots as u16;
        if slots > self.free {
            return Err(ENOSPC);
        }
        Ok((table, slots))
    }

    fn insert(&mut self, id: u16, token: T, slots: u16, input: &[Segment]) {
        let writable = input
            .iter()
            .fold(0u32, |sum, segment| sum.saturating_add(segment.len));
        if let Some(entry) = self.in_flight.get_mut(usize::from(id)) {
            *entry = Some(InFlight {
                token,
                slots,
                writable,
            });
        }
        self.count += 1;
        self.free -= slots;
    }

    /// Where the table of a chain begins, in bytes.
    fn table_at(&self, id: u16) -> usize {
        usize::from(id) * usize::from(self.shape.table) * DESCRIPTOR
    }

    /// Takes a chain back by its id: it must be one that the device has, and no more may be written than it holds.
    fn take(&mut self, id: u32, written: u32) -> Result<(u16, InFlight<T>)> {
        let found = u16::try_from(id).ok().filter(|id| *id < self.shape.size);
        let entry = found.and_then(|id| self.in_flight.get_mut(usize::from(id)));
        match (found, entry.and_then(Option::take)) {
            (Some(id), Some(chain)) if written <= chain.writable => {
                self.count -= 1;
                self.free += chain.slots;
                Ok((id, chain))
            }
            _ => Err(self.fail()),
        }
    }

    /// With IN_ORDER: how many chains, from the oldest, end with this id; the ids are given by `after`.
    fn batch_len(&self, id: u16, after: impl Fn(u16, u16) -> u16) -> Option<u16> {
        let mut at = self.oldest;
        for len in 1..=self.count {
            let slots = self.in_flight.get(usize::from(at))?.as_ref()?.slots;
            if at == id {
                return Some(len);
            }
            at = after(at, slots);
        }
        None
    }

    /// With IN_ORDER: the next chain of the batch. Those before the last were used whole, as far as can be known (§2.7.9, §2.8.8).
    fn next_of_batch(&mut self) -> Option<(u16, u32)> {
        let (last, written) = self.batch?;
        let id = self.oldest;
        if id == last {
            self.batch = None;
            return Some((id, written));
        }
        let whole = self.in_flight.get(usize::from(id))?.as_ref()?.writable;
        Some((id, whole))
    }

    /// Takes everything back without the device, which must have been reset.
    fn drain(&mut self, mut each: impl FnMut(T)) {
        for entry in self.in_flight.iter_mut() {
            if let Some(chain) = entry.take() {
                each(chain.token);
            }
        }
    }
}

/// A descriptor's bytes; the two 16-bit fields stand in this order in memory.
fn descriptor(segment: &Segment, first: u16, second: u16) -> [u8; DESCRIPTOR] {
    let mut bytes = [0; DESCRIPTOR];
    bytes[..8].copy_from_slice(&segment.address.to_le_bytes());
    bytes[8..12].copy_from_slice(&segment.len.to_le_bytes());
    bytes[12..14].copy_from_slice(&first.to_le_bytes());
    bytes[14..].copy_from_slice(&second.to_le_bytes());
    bytes
}

/// Each segment of a chain with its WRITE flag, and whether it is the last.
fn segments<'a>(
    out: &'a [Segment],
    input: &'a [Segment],
) -> impl Iterator<Item = (&'a Segment, u16, bool)> {
    let last = (out.len() + input.len()).wrapping_sub(1);
    let readable = out.iter().map(|segment| (segment, 0));
    let writable = input.iter().map(|segment| (segment, WRITE));
    // The prelude has a `chain` of initialisers too.
    Iterator::chain(readable, writable)
        .enumerate()
        .map(move |(index, (segment, flag))| (segment, flag, index == last))
}

/// Whether the event that the other side named lies in the run of entries from `old` to `new`, which are free-running (§2.7.7.2).
fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

enum Layout<M, T> {
    Split(split::Split<M, T>),
    Packed(packed::Packed<M, T>),
}

macro_rules! on_layout {
    ($layout:expr, $ring:ident => $call:expr) => {
        match $layout {
            Layout::Split($ring) => $call,
            Layout::Packed($ring) => $call,
        }
    };
}

/// A virtqueue.
///
/// `T` is what the caller knows a chain by: an index, as a rule.
pub(crate) struct Queue<T, M = DmaMemory>(Layout<M, T>);

impl<T: Copy> Queue<T> {
    /// A queue for a device, in memory of its own. The device must be told of [`addresses`](Self::addresses) and size.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such queue, `ENOMEM`.
    pub(crate) fn new(dev: &Device<Bound>, shape: Shape) -> Result<Self> {
        shape.check()?;
        let area = |len| Coherent::<u8>::zeroed_slice(dev, len, GFP_KERNEL);
        let [descriptors, driver, device, tables] = shape.areas();
        Self::with_memory(
            shape,
            Areas {
                descriptors: area(descriptors)?,
                driver: area(driver)?,
                device: area(device)?,
                tables: if tables == 0 {
                    None
                } else {
                    Some(area(tables)?)
                },
            },
        )
    }
}

impl<T: Copy, M: Memory> Queue<T, M> {
    /// A queue in memory that is given, zeroed and of [`Shape::areas`].
    pub(crate) fn with_memory(shape: Shape, areas: Areas<M>) -> Result<Self> {
        let state = State::new(shape, areas)?;
        Ok(Self(if shape.has(feature::RING_PACKED) {
            Layout::Packed(packed::Packed::new(state)?)
        } else {
            Layout::Split(split::Split::new(state)?)
        }))
    }

    fn state(&self) -> &State<M, T> {
        on_layout!(&self.0, ring => &ring.state)
    }

    fn state_mut(&mut self) -> &mut State<M, T> {
        on_layout!(&mut self.0, ring => &mut ring.state)
    }

    /// Where the device finds descriptor area, driver area and device area.
    pub(crate) fn addresses(&self) -> [DmaAddress; 3] {
        let areas = &self.state().areas;
        [&areas.descriptors, &areas.driver, &areas.device].map(Memory::address)
    }

    /// In elements.
    pub(crate) fn size(&self) -> u16 {
        self.state().shape.size
    }

    /// How many descriptors are free. A chain takes one for each segment, or one in all if it goes into an indirect table.
    pub(crate) fn free(&self) -> u16 {
        self.state().free
    }

    /// How many chains the device has.
    pub(crate) fn in_flight(&self) -> u16 {
        self.state().count
    }

    /// Whether the device broke the rules: from then on everything fails until [`reset`](Self::reset).
    pub(crate) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Adds a chain: `out` for the device to read, then `input` for it to write. It sees the chain when it is
    /// [published](Self::publish).
    ///
    /// The memory must stay as it is until the chain comes back, or the device was reset.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is no room now, `EINVAL` if there never is, `EIO` if the device broke the rules.
    pub(crate) fn add(&mut self, out: &[Segment], input: &[Segment], token: T) -> Result {
        on_layout!(&mut self.0, ring => ring.add(out, input, token))
    }

    /// Lets the device see what was added. `true` if it wants to be kicked for it.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules.
    pub(crate) fn publish(&mut self) -> Result<bool> {
        self.state().check()?;
        on_layout!(&mut self.0, ring => ring.publish())
    }

    /// Takes back a chain that the device has used; `None` if there is none.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules: gave back what it does not have, or says that it wrote more than it could.
    pub(crate) fn pop(&mut self) -> Result<Option<Completion<T>>> {
        self.state().check()?;
        on_layout!(&mut self.0, ring => ring.pop())
    }

    /// Asks the device not to interrupt. It may all the same.
    pub(crate) fn disable_interrupts(&mut self) -> Result {
        on_layout!(&mut self.0, ring => ring.disable_interrupts())
    }

    /// Asks the device to interrupt when it uses the next chain. `true` if it has used one already, for which it may not
    /// interrupt: look once more.
    pub(crate) fn enable_interrupts(&mut self) -> Result<bool> {
        self.state().check()?;
        on_layout!(&mut self.0, ring => ring.enable_interrupts())
    }

    /// What a kick says with NOTIFICATION_DATA, beside the queue (§2.9): bits 16 to 31.
    pub(crate) fn notification_data(&self) -> u16 {
        on_layout!(&self.0, ring => ring.notification_data())
    }

    /// Begins anew, in the same memory. The device must have been reset, or the queue: it does not look at it any more.
    /// `each` gets the tokens of the chains that it had.
    pub(crate) fn reset(&mut self, each: impl FnMut(T)) -> Result {
        let state = self.state_mut();
        state.drain(each);
        for area in [
            &state.areas.descriptors,
            &state.areas.driver,
            &state.areas.device,
        ] {
            const ZEROS: [u8; 64] = [0; 64];
            let mut at = 0;
            while at < area.len() {
                let piece = ZEROS.len().min(area.len() - at);
                area.write_bytes(at, &ZEROS[..piece])?;
                at += piece;
            }
        }
        state.count = 0;
        state.free = state.shape.size;
        state.oldest = 0;
        state.batch = None;
        state.broken = false;
        on_layout!(&mut self.0, ring => ring.restart());
        Ok(())
    }
}

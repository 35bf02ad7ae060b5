// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A virtqueue as its driver sees it, split or packed (virtio 1.4 §2.6 to §2.9).
//!
//! A [`Queue`] takes chains of [`Segment`]s, each with a token of the caller's, shows them to the device,
//! and gives the tokens back with what the device wrote. It knows no transport: whoever has it tells the
//! device of its [`addresses`](Queue::addresses) and size, kicks it when told to, and calls it when the
//! device interrupts.
//!
//! ```text
//!         add                 publish               pop
//! caller ─────▶ written down ─────────▶ device's ─────────▶ caller
//!                    │                     │
//!                    └──── reset ──────────┘   (the device was reset, or the queue)
//! ```
//!
//! A queue is *sound* until the device breaks the rules, and *broken* then: everything fails with `EIO`
//! until [`Queue::reset`], which gives the tokens back.
//!
//! # How it is used
//!
//! ```text
//! submit:     queue.add(&[header], &[data, status], tag)?;
//!             if queue.publish()? { transport.kick(index, queue.notification_data()); }
//!
//! interrupt:  loop {
//!                 queue.disable_interrupts()?;
//!                 while let Some(done) = queue.pop()? { finish(done.token, done.written); }
//!                 if !queue.enable_interrupts()? { break; }
//!             }
//! ```
//!
//! # What it guarantees, whatever the device does
//!
//! - No panic and no endless loop; one call of [`Queue::pop`] costs at most one look at each chain.
//! - A token comes back once, and only if its chain was published.
//! - [`Completion::written`] is not more than the chain's writable segments hold. Bytes beyond it may be
//!   anything: the device may have written less than they hold.
//! - What is in memory that the device may write is read once, and checked before it is used; descriptors
//!   are never read back.
//!
//! And what the device is guaranteed: a chain is complete in memory before it is seen, and stays as it is
//! until it is used; it is no longer than the queue and holds no more than 2³² bytes.
//!
//! # Cost
//!
//! `add` writes 16 bytes for each segment, and 16 for a table if it takes one. `publish` is one store for
//! a split queue and one for each chain of a packed one, a full barrier and a load. `pop` of a split queue
//! reads the used index only when all that it showed before is taken; of a packed one, the flags of a slot.
//! Nothing is allocated after [`Queue::new`]. Private memory is some 40 bytes an element.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a part of each driver that includes it, which uses what it needs"
)]

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
mod state;

use state::State;

/// The largest size of a queue, in elements.
pub const MAX_SIZE: u16 = 32768;

/// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

/// The most bytes of a chain (virtio 1.4 §2.7.5.2).
const MAX_BYTES: u64 = 1 << 32;

/// Memory that a device sees at [`address`](Self::address), accessed in little-endian values of one width.
///
/// The offsets are the queue's own, so an error is a mistake of the queue's and not of the device.
pub trait Memory: Sized {
    /// Where the device sees it.
    fn address(&self) -> DmaAddress;
    /// How many bytes there are.
    fn size(&self) -> usize;
    /// Reads 16 bits at once, at an offset that is a multiple of two.
    fn read16(&self, at: usize) -> Result<u16>;
    /// Reads 32 bits at once, at an offset that is a multiple of four.
    fn read32(&self, at: usize) -> Result<u32>;
    /// Writes 16 bits at once, at an offset that is a multiple of two.
    fn write16(&self, at: usize, value: u16) -> Result;
    /// Writes bytes in no particular order.
    fn write_bytes(&self, at: usize, bytes: &[u8]) -> Result;

    /// The device sees writes before it earlier than writes after it.
    #[inline]
    #[track_caller]
    fn write_barrier(&self) {
        dma_mb(Write);
    }

    /// Reads after it see what the device wrote earlier than what reads before it saw.
    #[inline]
    #[track_caller]
    fn read_barrier(&self) {
        dma_mb(Read);
    }

    /// The device sees writes before it earlier than reads after it are made.
    #[inline]
    #[track_caller]
    fn full_barrier(&self) {
        mb(Full);
    }
}

/// Memory of a device behind a bus.
pub type DmaMemory = Coherent<[u8]>;

impl Memory for DmaMemory {
    #[inline]
    fn address(&self) -> DmaAddress {
        self.dma_address()
    }

    #[inline]
    fn size(&self) -> usize {
        self.len()
    }

    #[inline]
    #[track_caller]
    fn read16(&self, at: usize) -> Result<u16> {
        let value = io_project!(self, [try: at..at.wrapping_add(2)]).try_cast::<u16>()?;
        Ok(u16::from_le(value.read_val()))
    }

    #[inline]
    #[track_caller]
    fn read32(&self, at: usize) -> Result<u32> {
        let value = io_project!(self, [try: at..at.wrapping_add(4)]).try_cast::<u32>()?;
        Ok(u32::from_le(value.read_val()))
    }

    #[inline]
    #[track_caller]
    fn write16(&self, at: usize, value: u16) -> Result {
        let place = io_project!(self, [try: at..at.wrapping_add(2)]).try_cast::<u16>()?;
        place.write_val(value.to_le());
        Ok(())
    }

    #[inline]
    #[track_caller]
    fn write_bytes(&self, at: usize, bytes: &[u8]) -> Result {
        io_project!(self, [try: at..at.wrapping_add(bytes.len())]).copy_from_slice(bytes);
        Ok(())
    }
}

/// A piece of memory for the device to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the device sees it.
    pub address: DmaAddress,
    /// In bytes.
    pub len: u32,
}

/// A chain that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<T> {
    /// What it was added with.
    pub token: T,
    /// How many bytes the device says that it wrote, from the start of the writable segments; never more than they
    /// hold. With `IN_ORDER` the device may say it for the last chain of a batch only; of the others it is all that
    /// they hold (virtio 1.4 §2.7.9, §2.8.8).
    pub written: u32,
}

/// What a queue is made like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Elements: for a split queue a power of two from 2, for a packed one any number from 1; to [`MAX_SIZE`].
    pub size: u16,
    /// The features that were negotiated.
    pub features: u64,
    /// How many segments an indirect table holds; 0 for no tables. Each element has a table, if `INDIRECT_DESC`
    /// was negotiated.
    pub table: u16,
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

    /// Bytes of descriptor area, driver area, device area (virtio 1.4 §2.7, §2.8.10.1), and indirect tables (0 if
    /// there are none).
    pub fn areas(&self) -> [usize; 4] {
        let size = usize::from(self.size);
        let tables = if self.has(feature::INDIRECT_DESC) {
            (size * DESCRIPTOR).saturating_mul(usize::from(self.table))
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

/// The parts of a queue's memory, zeroed. They must not overlap.
#[derive(Debug)]
pub struct Areas<M> {
    /// Descriptor table, or packed ring. Aligned to 16.
    pub descriptors: M,
    /// Available ring, or driver event suppression. Aligned to 4.
    pub driver: M,
    /// Used ring, or device event suppression. Aligned to 4.
    pub device: M,
    /// Indirect tables.
    pub tables: Option<M>,
}

#[derive(Debug)]
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
/// `T` is what the caller knows a chain by: an index, or what owns its memory.
#[derive(Debug)]
pub struct Queue<T, M = DmaMemory>(Layout<M, T>);

impl<T> Queue<T> {
    /// A queue for a device, in memory of its own. The device must be told of [`addresses`](Self::addresses) and size.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such queue, `ENOMEM`.
    pub fn new(dev: &Device<Bound>, shape: Shape) -> Result<Self> {
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

impl<T, M: Memory> Queue<T, M> {
    /// A queue in memory that is given, zeroed and of [`Shape::areas`].
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such queue, or the memory is too small or not aligned; `ENOMEM`.
    pub fn with_memory(shape: Shape, areas: Areas<M>) -> Result<Self> {
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

    /// Where the device finds descriptor area, driver area and device area.
    pub fn addresses(&self) -> [DmaAddress; 3] {
        let areas = &self.state().areas;
        [&areas.descriptors, &areas.driver, &areas.device].map(Memory::address)
    }

    /// In elements.
    pub fn size(&self) -> u16 {
        self.state().shape.size
    }

    /// How many descriptors are free. A chain takes one for each segment, or one in all if it goes into an indirect
    /// table.
    pub fn free(&self) -> u16 {
        self.state().free
    }

    /// Whether a chain of so many segments can be added now.
    pub fn has_room(&self, segments: usize) -> bool {
        self.state().plan(segments).is_ok()
    }

    /// How many chains were added and did not come back.
    pub fn in_flight(&self) -> u16 {
        self.state().count
    }

    /// Whether the device broke the rules: from then on everything fails until [`reset`](Self::reset).
    pub fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Adds a chain: `out` for the device to read, then `input` for it to write. It sees the chain when it is
    /// [published](Self::publish). If it fails the queue is as before, and the token is dropped.
    ///
    /// The memory must stay as it is until the chain comes back, or the device was reset.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is no room now. `EINVAL` if there never is: there are no segments, more than the queue has
    /// elements, or more than 2³² bytes. `EIO` if the device broke the rules.
    #[inline]
    pub fn add(&mut self, out: &[Segment], input: &[Segment], token: T) -> Result {
        on_layout!(&mut self.0, ring => ring.add(out, input, token))
    }

    /// Lets the device see what was added. `true` if it wants to be kicked for it.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules.
    #[inline]
    pub fn publish(&mut self) -> Result<bool> {
        self.state().check()?;
        on_layout!(&mut self.0, ring => ring.publish())
    }

    /// Takes back a chain that the device has used; `None` if there is none.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules: gave back what it does not have, or says that it wrote more than it could.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Completion<T>>> {
        self.state().check()?;
        on_layout!(&mut self.0, ring => ring.pop())
    }

    /// Asks the device not to interrupt. It may all the same.
    ///
    /// # Errors
    ///
    /// None that the device can cause.
    #[inline]
    pub fn disable_interrupts(&mut self) -> Result {
        on_layout!(&mut self.0, ring => ring.disable_interrupts())
    }

    /// Asks the device to interrupt when it uses the next chain. `true` if it has used one already, for which it may
    /// not interrupt: look once more.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules.
    #[inline]
    pub fn enable_interrupts(&mut self) -> Result<bool> {
        self.state().check()?;
        on_layout!(&mut self.0, ring => ring.enable_interrupts(false))
    }

    /// Asks the device to interrupt when it has used most (about three quarters) of what it has; with `EVENT_IDX`, else
    /// as [`enable_interrupts`](Self::enable_interrupts). For chains that nobody waits for, as those of packets that
    /// were sent. `true` if it may have used so many already: look once more.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules.
    pub fn enable_interrupts_late(&mut self) -> Result<bool> {
        self.state().check()?;
        on_layout!(&mut self.0, ring => ring.enable_interrupts(true))
    }

    /// What a kick says with `NOTIFICATION_DATA`, beside the queue (virtio 1.4 §2.9): bits 16 to 31. It is where the
    /// next chain goes after those that were published.
    #[inline]
    pub fn notification_data(&self) -> u16 {
        on_layout!(&self.0, ring => ring.notification_data())
    }

    /// Begins anew, in the same memory, and asks for interrupts. The device must have been reset, or the queue (virtio
    /// 1.4 §2.4, §2.6.1): it does not look at it any more. `each` gets the tokens of the chains that it had, in no
    /// particular order.
    ///
    /// # Errors
    ///
    /// None that the device can cause.
    pub fn reset(&mut self, each: impl FnMut(T)) -> Result {
        on_layout!(&mut self.0, ring => {
            ring.state.restart(each)?;
            ring.restart()
        })
    }
}

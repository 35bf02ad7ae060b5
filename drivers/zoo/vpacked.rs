// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A packed virtqueue (virtio 1.4 §2.8) of four slots, for virtio entropy devices.

use kernel::{
    device::{Bound, Core, Device},
    dma::{Coherent, DmaAddress},
    io::{io_read, io_write},
    pci,
    prelude::*,
    sync::barrier::{dma_mb, mb, Full, Read, Write},
    transmute::{AsBytes, FromBytes},
};

mod shell;
mod virtio;

use shell::{Ring, SIZE};
use virtio::feature;

/// Flags of a slot.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Flags of an event suppression structure.
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const DESC: u16 = 2;

/// The wrap counter's bit beside an offset.
const WRAP: u16 = 1 << 15;

kernel::module_pci_driver! {
    type: PackedDriver,
    name: "vpacked",
    authors: ["The Bringup developers"],
    description: "A small packed virtqueue",
    license: "GPL v2",
    params: {
        pieces: u16 {
            default: 2,
            description: "Descriptors of a chain: 1, 2 or 4",
        },
        late: u8 {
            default: 0,
            description: "1: an interrupt only when most of what is in flight was used",
        },
    },
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Slot {
    addr: u64,
    len: u32,
    id: u16,
    flags: u16,
}

/// An event suppression structure.
#[repr(C)]
#[derive(Clone, Copy)]
struct Event {
    off_wrap: u16,
    flags: u16,
}

macro_rules! bytes {
    ($($ty:ty),*) => {$(
        // SAFETY: Numbers without gaps.
        unsafe impl AsBytes for $ty {}
        // SAFETY: Any bytes are numbers.
        unsafe impl FromBytes for $ty {}
    )*};
}

bytes!(Slot, Event);

/// A slot and the wrap counter that goes with it.
#[derive(Clone, Copy)]
struct Place {
    slot: u16,
    wrap: bool,
}

impl Place {
    const START: Self = Self {
        slot: 0,
        wrap: true,
    };

    /// Further on by at most the whole ring.
    fn forward(self, slots: u16) -> Self {
        let slot = (self.slot + slots) % SIZE;
        // A chain as long as the ring ends where it began, one round later.
        let wraps = slots != 0 && slot <= self.slot;
        Self {
            slot,
            wrap: self.wrap != wraps,
        }
    }

    fn off_wrap(self) -> u16 {
        self.slot | if self.wrap { WRAP } else { 0 }
    }

    /// What an available slot has of [`AVAIL`] and [`USED`] here.
    fn available(self) -> u16 {
        if self.wrap {
            AVAIL
        } else {
            USED
        }
    }
}

struct Packed {
    ring: Coherent<[Slot]>,
    driver: Coherent<Event>,
    device: Coherent<Event>,
    buffers: DmaAddress,
    pieces: u16,
    event_idx: bool,
    late: bool,
    /// Where the next chain becomes available, and where it did before the last was added.
    avail: Place,
    shown: Place,
    /// Where the next used chain is.
    used: Place,
    /// Slots that the device has.
    in_flight: u16,
}

impl Packed {
    /// Whether the device has used the chain at a place.
    fn is_used(&self, place: Place) -> Result<bool> {
        let flags = u16::from_le(io_read!(self.ring, [try: usize::from(place.slot)].flags));
        Ok((flags & AVAIL != 0) == place.wrap && (flags & USED != 0) == place.wrap)
    }
}

impl Ring for Packed {
    fn new(dev: &Device<Bound>, features: u64, pieces: u16, buffers: DmaAddress) -> Result<Self> {
        Ok(Self {
            ring: Coherent::<Slot>::zeroed_slice(dev, SIZE.into(), GFP_KERNEL)?,
            driver: Coherent::<Event>::zeroed(dev, GFP_KERNEL)?,
            device: Coherent::<Event>::zeroed(dev, GFP_KERNEL)?,
            buffers,
            pieces,
            event_idx: features & feature::bit(feature::EVENT_IDX) != 0,
            late: *module_parameters::late.value_ref() != 0,
            avail: Place::START,
            shown: Place::START,
            used: Place::START,
            in_flight: 0,
        })
    }

    fn addresses(&self) -> [DmaAddress; 3] {
        [
            self.ring.dma_address(),
            self.driver.dma_address(),
            self.device.dma_address(),
        ]
    }

    fn slots(&self) -> usize {
        usize::from(SIZE / self.pieces)
    }

    fn add(&mut self, slot: usize) -> Result {
        let head = self.avail;
        let mut at = head;
        let mut head_flags = 0;
        for (number, (addr, len)) in shell::pieces(self.buffers, slot, self.pieces).enumerate() {
            let index = usize::from(at.slot);
            let is_last = number + 1 == usize::from(self.pieces);
            let flags = WRITE | if is_last { 0 } else { NEXT } | at.available();
            io_write!(self.ring, [try: index].addr, addr.to_le());
            io_write!(self.ring, [try: index].len, len.to_le());
            io_write!(self.ring, [try: index].id, (slot as u16).to_le());
            if number == 0 {
                head_flags = flags;
            } else {
                io_write!(self.ring, [try: index].flags, flags.to_le());
            }
            at = at.forward(1);
        }
        // The whole chain before the flags that make it available.
        dma_mb(Write);
        io_write!(self.ring, [try: usize::from(head.slot)].flags, head_flags.to_le());
        self.avail = head.forward(self.pieces);
        self.in_flight += self.pieces;
        Ok(())
    }

    fn publish(&mut self) -> Result<bool> {
        let (old, new) = (self.shown, self.avail);
        self.shown = new;
        // The flags before the look at what the device wants.
        mb(Full);
        let flags = u16::from_le(io_read!(self.device, .flags));
        if !self.event_idx || flags != DESC {
            return Ok(flags != DISABLE);
        }
        // What the device wants before where it wants it.
        dma_mb(Read);
        let off_wrap = u16::from_le(io_read!(self.device, .off_wrap));
        // As counters of one round before and after: those of the other wrap counter are a round away.
        let event = off_wrap & !WRAP;
        let event = if (off_wrap & WRAP != 0) == new.wrap {
            event
        } else {
            event.wrapping_sub(SIZE)
        };
        let old = if old.wrap == new.wrap {
            old.slot
        } else {
            old.slot.wrapping_sub(SIZE)
        };
        let new = new.slot;
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }

    fn take(&mut self) -> Result<Option<(usize, u32)>> {
        if !self.is_used(self.used)? {
            return Ok(None);
        }
        // The flags before the rest of the slot, and before the bytes that the device wrote.
        dma_mb(Read);
        let index = usize::from(self.used.slot);
        let id = u16::from_le(io_read!(self.ring, [try: index].id));
        let len = u32::from_le(io_read!(self.ring, [try: index].len));
        self.used = self.used.forward(self.pieces);
        self.in_flight = self.in_flight.saturating_sub(self.pieces);
        Ok(Some((id.into(), len)))
    }

    fn want_interrupt(&mut self) -> Result<bool> {
        if self.event_idx {
            let wait = if self.late { self.in_flight * 3 / 4 } else { 0 };
            let event = self.used.forward(wait);
            io_write!(self.driver, .off_wrap, event.off_wrap().to_le());
            // Where, before that it is wanted.
            dma_mb(Write);
            io_write!(self.driver, .flags, DESC.to_le());
        } else {
            io_write!(self.driver, .flags, ENABLE.to_le());
        }
        // What is asked for before the look at what the device has done.
        mb(Full);
        self.is_used(self.used)
    }
}

struct PackedDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <PackedDriver as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, shell::DEVICE),
        ()
    )]
);

impl pci::Driver for PackedDriver {
    type IdInfo = ();
    type Data<'bound> = shell::Data<'bound, Packed>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let pieces = *module_parameters::pieces.value_ref();
        let wanted = feature::bit(feature::RING_PACKED) | feature::bit(feature::EVENT_IDX);
        shell::probe(pdev, wanted, pieces.clamp(1, SIZE))
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        shell::unbind(pdev, this);
    }
}

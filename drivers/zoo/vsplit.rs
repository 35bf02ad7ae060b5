// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A split virtqueue (virtio 1.4 §2.7) of four elements, for virtio entropy devices.

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

/// Flags of a descriptor.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A flag of the used ring: the device wants no kicks.
const NO_NOTIFY: u16 = 1;

kernel::module_pci_driver! {
    type: SplitDriver,
    name: "vsplit",
    authors: ["The Bringup developers"],
    description: "A small split virtqueue",
    license: "GPL v2",
    params: {
        pieces: u16 {
            default: 2,
            description: "Descriptors of a chain: 1, 2 or 4",
        },
    },
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    addr: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// What the driver writes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Avail {
    flags: u16,
    idx: u16,
    ring: [u16; SIZE as usize],
    used_event: u16,
    reserved: u16,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Element {
    id: u32,
    len: u32,
}

/// What the device writes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Used {
    flags: u16,
    idx: u16,
    ring: [Element; SIZE as usize],
    avail_event: u16,
    reserved: u16,
}

macro_rules! bytes {
    ($($ty:ty),*) => {$(
        // SAFETY: Numbers without gaps.
        unsafe impl AsBytes for $ty {}
        // SAFETY: Any bytes are numbers.
        unsafe impl FromBytes for $ty {}
    )*};
}

bytes!(Descriptor, Avail, Used);

struct Split {
    descriptors: Coherent<[Descriptor]>,
    avail: Coherent<Avail>,
    used: Coherent<Used>,
    /// For each slot, descriptors that lie in a table of their own.
    tables: Coherent<[Descriptor]>,
    buffers: DmaAddress,
    pieces: u16,
    indirect: bool,
    event_idx: bool,
    /// Entries added to the available ring, and those that were shown.
    added: u16,
    shown: u16,
    /// Entries taken from the used ring.
    taken: u16,
}

impl Split {
    /// Descriptors that a chain takes of the ring's.
    fn stride(&self) -> u16 {
        if self.indirect {
            1
        } else {
            self.pieces
        }
    }

    /// Writes a chain, into the ring or into the slot's table.
    fn write_chain(&self, chain: &Coherent<[Descriptor]>, first: u16, slot: usize) -> Result {
        let pieces = shell::pieces(self.buffers, slot, self.pieces);
        for (at, (addr, len)) in (first..).zip(pieces) {
            // In a table the first entry is number 0.
            let base = if self.indirect { first } else { 0 };
            let is_last = at + 1 == first + self.pieces;
            let flags = if is_last { WRITE } else { WRITE | NEXT };
            let next = if is_last { 0 } else { at + 1 - base };
            let index = usize::from(at);
            io_write!(chain, [try: index].addr, addr.to_le());
            io_write!(chain, [try: index].len, len.to_le());
            io_write!(chain, [try: index].flags, flags.to_le());
            io_write!(chain, [try: index].next, next.to_le());
        }
        Ok(())
    }

    fn read_used_idx(&self) -> u16 {
        u16::from_le(io_read!(self.used, .idx))
    }
}

impl Ring for Split {
    fn new(dev: &Device<Bound>, features: u64, pieces: u16, buffers: DmaAddress) -> Result<Self> {
        let tables = usize::from(SIZE * SIZE);
        Ok(Self {
            descriptors: Coherent::<Descriptor>::zeroed_slice(dev, SIZE.into(), GFP_KERNEL)?,
            avail: Coherent::<Avail>::zeroed(dev, GFP_KERNEL)?,
            used: Coherent::<Used>::zeroed(dev, GFP_KERNEL)?,
            tables: Coherent::<Descriptor>::zeroed_slice(dev, tables, GFP_KERNEL)?,
            buffers,
            pieces,
            indirect: features & feature::bit(feature::INDIRECT_DESC) != 0,
            event_idx: features & feature::bit(feature::EVENT_IDX) != 0,
            added: 0,
            shown: 0,
            taken: 0,
        })
    }

    fn addresses(&self) -> [DmaAddress; 3] {
        [
            self.descriptors.dma_address(),
            self.avail.dma_address(),
            self.used.dma_address(),
        ]
    }

    fn slots(&self) -> usize {
        usize::from(SIZE / self.stride())
    }

    fn add(&mut self, slot: usize) -> Result {
        let head = slot as u16 * self.stride();
        if self.indirect {
            let first = head * SIZE;
            self.write_chain(&self.tables, first, slot)?;
            let entry = core::mem::size_of::<Descriptor>();
            let addr = self.tables.dma_address() + (usize::from(first) * entry) as u64;
            let len = usize::from(self.pieces) * entry;
            io_write!(self.descriptors, [try: usize::from(head)].addr, addr.to_le());
            io_write!(self.descriptors, [try: usize::from(head)].len, (len as u32).to_le());
            io_write!(self.descriptors, [try: usize::from(head)].flags, INDIRECT.to_le());
        } else {
            self.write_chain(&self.descriptors, head, slot)?;
        }
        let place = usize::from(self.added % SIZE);
        io_write!(self.avail, .ring[try: place], head.to_le());
        self.added = self.added.wrapping_add(1);
        Ok(())
    }

    fn publish(&mut self) -> Result<bool> {
        let (old, new) = (self.shown, self.added);
        self.shown = new;
        // Descriptors and entries before the index that shows them.
        dma_mb(Write);
        io_write!(self.avail, .idx, new.to_le());
        // The index before the look at what the device wants.
        mb(Full);
        Ok(if self.event_idx {
            let event = u16::from_le(io_read!(self.used, .avail_event));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            u16::from_le(io_read!(self.used, .flags)) & NO_NOTIFY == 0
        })
    }

    fn take(&mut self) -> Result<Option<(usize, u32)>> {
        if self.read_used_idx() == self.taken {
            return Ok(None);
        }
        // The index before the entry, and before the bytes that the device wrote.
        dma_mb(Read);
        let place = usize::from(self.taken % SIZE);
        let id = u32::from_le(io_read!(self.used, .ring[try: place].id));
        let len = u32::from_le(io_read!(self.used, .ring[try: place].len));
        self.taken = self.taken.wrapping_add(1);
        Ok(Some((id as usize / usize::from(self.stride()), len)))
    }

    fn want_interrupt(&mut self) -> Result<bool> {
        if self.event_idx {
            io_write!(self.avail, .used_event, self.taken.to_le());
        }
        // What is asked for before the look at what the device has done.
        mb(Full);
        Ok(self.read_used_idx() != self.taken)
    }
}

struct SplitDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <SplitDriver as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, shell::DEVICE),
        ()
    )]
);

impl pci::Driver for SplitDriver {
    type IdInfo = ();
    type Data<'bound> = shell::Data<'bound, Split>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let pieces = *module_parameters::pieces.value_ref();
        let wanted = feature::bit(feature::INDIRECT_DESC) | feature::bit(feature::EVENT_IDX);
        shell::probe(pdev, wanted, pieces.clamp(1, SIZE))
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        shell::unbind(pdev, this);
    }
}

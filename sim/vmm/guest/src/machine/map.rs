//! Device memory: mapped when it is asked for, and never RAM; and RAM to read for tables.
#![expect(unsafe_code, reason = "page tables and device registers are reached through pointers")]

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::alloc::{Layout, alloc_zeroed};
use bringup_guest::Memory;
use bringup_guest::start::Start;

/// Where the boot page tables end.
const IDENTITY: u64 = 4 << 30;
/// Of a page table entry: present, writable, user, write-through, uncached, 2 MiB.
const DEVICE: u64 = 0x9f;
const RAM: u64 = 0x87;
const TABLE: u64 = 0x07;

unsafe extern "C" {
    static page_root: [u64; 512];
}

/// Physical memory below 4 GiB, to read what loader and firmware left.
pub(crate) struct Physical;

impl Memory for Physical {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        if address == 0 || address.checked_add(into.len() as u64).is_none_or(|end| end > IDENTITY) {
            return false;
        }
        for (offset, byte) in into.iter_mut().enumerate() {
            // SAFETY: all of the first 4 GiB is mapped; reading RAM, ROM or nothing there changes nothing.
            *byte = unsafe { ((address as usize + offset) as *const u8).read_volatile() };
        }
        true
    }
}

/// A register's place: inside of a [`Registers`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u64);

impl Place {
    /// Its address.
    pub(crate) fn address(self) -> u64 {
        self.0
    }
}

/// A range of device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    address: u64,
    len: u64,
}

impl Registers {
    /// Maps `len` bytes from `address`, unless some of them are RAM.
    pub(crate) fn map(start: &Start, address: u64, len: u64) -> Option<Self> {
        let end = address.checked_add(len)?;
        if address == 0 || len == 0 || start.is_memory(address, len) || end > physical_end() {
            return None;
        }
        map(address, end, DEVICE)?;
        Some(Self { address, len })
    }

    /// First address.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// In bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The place of a register of `width` bytes.
    pub(crate) fn place(&self, offset: u64, width: u64) -> Place {
        assert!(offset.checked_add(width).is_some_and(|end| end <= self.len), "outside of the BAR");
        Place(self.address + offset)
    }

    /// Part of it.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Option<Self> {
        (offset.checked_add(len)? <= self.len).then(|| Self { address: self.address + offset, len })
    }
}

/// A width of an access.
macro_rules! width {
    ($read:ident, $write:ident, $type:ty, $class:tt, $operand:tt) => {
        impl Registers {
            /// Reads a register of this width by one instruction, also where it is not aligned.
            pub(crate) fn $read(&self, offset: u64) -> $type {
                let at = self.place(offset, size_of::<$type>() as u64).address();
                let value: $type;
                // SAFETY: mapped, and not RAM.
                unsafe {
                    core::arch::asm!(concat!("mov {", $operand, "}, [{at}]"), value = out($class) value, at = in(reg) at, options(nostack, preserves_flags));
                }
                value
            }

            /// Writes a register of this width by one instruction, also where it is not aligned.
            pub(crate) fn $write(&self, offset: u64, value: $type) {
                let at = self.place(offset, size_of::<$type>() as u64).address();
                // SAFETY: mapped, and not RAM; DMA that it starts goes to addresses of `Dma`.
                unsafe {
                    core::arch::asm!(concat!("mov [{at}], {", $operand, "}"), value = in($class) value, at = in(reg) at, options(nostack, preserves_flags));
                }
            }
        }
    };
}
width!(read8, write8, u8, reg_byte, "value");
width!(read16, write16, u16, reg, "value:x");
width!(read32, write32, u32, reg, "value:e");
width!(read64, write64, u64, reg, "value:r");

/// One past the last physical address, as CPUID has it; an address beyond would be a reserved bit of a page table.
fn physical_end() -> u64 {
    if super::cpu::identify(0x8000_0000, 0)[0] < 0x8000_0008 {
        return 1 << 36;
    }
    1 << (super::cpu::identify(0x8000_0008, 0)[0] & 0xff).clamp(32, 47)
}

/// How many pages of RAM above 4 GiB were given out.
static HIGH_PAGES: AtomicUsize = AtomicUsize::new(0);

/// A few pages of RAM above 4 GiB, where the machine has some: `len` bytes, zeroed.
pub(crate) fn high_memory(start: &Start, len: usize) -> Option<super::dma::Dma> {
    let len = len.checked_next_multiple_of(4096)?;
    let range =
        start.ranges().iter().find(|range| range.kind == 1 && range.start >= IDENTITY && range.len >= 1 << 22)?;
    let skip = HIGH_PAGES.fetch_add(len / 4096, Ordering::AcqRel).checked_mul(4096)?;
    if skip.checked_add(len)? as u64 > range.len {
        return None;
    }
    // From the end: the loader puts what it loads at the beginning.
    let address = range.start.checked_add(range.len)?.checked_sub((skip + len) as u64)? & !4095;
    map(address, address.checked_add(len as u64)?, RAM)?;
    // SAFETY: RAM by the map, mapped, and each page is given out once.
    let memory = unsafe { super::dma::Dma::high(address, len) };
    memory.fill(0, len, 0);
    Some(memory)
}

/// Maps a range above 4 GiB as it is; below it is mapped already.
fn map(address: u64, end: u64, flags: u64) -> Option<()> {
    let mut page = address & !((2 << 20) - 1);
    while page < end {
        if page >= IDENTITY {
            map_page(page, flags)?;
        }
        page += 2 << 20;
    }
    Some(())
}

fn map_page(page: u64, flags: u64) -> Option<()> {
    let mut table = core::ptr::addr_of!(page_root).cast_mut().cast::<u64>();
    for level in [39, 30] {
        let entry = table.wrapping_add((page >> level) as usize & 511);
        // SAFETY: `table` is a page table of 512 entries: the root, or one made below. Only the first CPU maps.
        let found = unsafe { entry.read_volatile() };
        table = if found & 1 == 0 {
            let layout = Layout::from_size_align(4096, 4096).ok()?;
            // SAFETY: the layout has a size.
            let made = unsafe { alloc_zeroed(layout) };
            if made.is_null() {
                return None;
            }
            // SAFETY: as for the read above.
            unsafe { entry.write_volatile(made as u64 | TABLE) };
            made.cast()
        } else {
            (found & 0x000f_ffff_ffff_f000) as *mut u64
        };
    }
    let entry = table.wrapping_add((page >> 21) as usize & 511);
    // SAFETY: as above. What was not present needs no flush.
    unsafe {
        if entry.read_volatile() & 1 == 0 {
            entry.write_volatile(page | flags);
        }
    }
    Some(())
}

unsafe extern "C" {
    static ap_begin: u8;
    static ap_end: u8;
}

/// Copies what other CPUs begin with to this page below 1 MiB, if that is RAM.
pub(crate) fn place_ap_start(start: &Start, page: u8) -> Option<()> {
    let address = u64::from(page) << 12;
    if !start.is_memory(address, 4096) {
        return None;
    }
    let (from, to) = (core::ptr::addr_of!(ap_begin), core::ptr::addr_of!(ap_end));
    let len = (to as usize).checked_sub(from as usize).filter(|len| *len <= 4096)?;
    // SAFETY: the source is the assembly between two labels; the target is RAM that the program is not in.
    unsafe { core::ptr::copy_nonoverlapping(from, address as *mut u8, len) };
    Some(())
}

/// ECAM of bus 0 for another CPU: what the first one mapped.
pub(crate) fn ecam_again(address: u64) -> Option<Registers> {
    (address != 0).then_some(Registers { address, len: 1 << 20 })
}

/// Enables the local APIC of the CPU that asks, at the address that the first one found.
pub(crate) fn enable_own_lapic() {
    let lapic = Registers { address: super::cpu::lapic(), len: 0x1000 };
    crate::interrupt::enable(&lapic);
}

/// Reads where nothing is mapped: an exception.
pub(crate) fn touch_nothing() {
    // SAFETY: this address is never mapped, so that nothing is read.
    unsafe { ((1_u64 << 46) as *const u8).read_volatile() };
}

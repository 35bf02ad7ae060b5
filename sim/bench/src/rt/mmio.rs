//! BAR accesses by the address that `iomap` gave, and accesses to ordinary memory.

use std::panic::Location;

use bringup_core::dma::RAM_BASE;
use bringup_core::{Access, Finding, Place};

use super::pci::{IoMap, MAP_BASE, MAP_SHIFT};
use super::point::AtPoint;
use super::{follow, watch};
use crate::heard::Origin;
use crate::machine::{Machine, try_with, with};
use crate::rules;

impl Machine {
    fn iomap_at(&mut self, address: usize, verb: &str, place: Place) -> Option<(IoMap, u64)> {
        let index = (address.wrapping_sub(MAP_BASE)) >> MAP_SHIFT;
        let offset = (address & ((1 << MAP_SHIFT) - 1)) as u64;
        match self.iomaps.get(index) {
            Some(map) if map.live && address >= MAP_BASE => Some((map.clone(), offset)),
            Some(map) if address >= MAP_BASE => {
                let (bar, device, mapped) = (map.bar, map.device, map.place);
                let name = self.device_name(device);
                let finding = Finding::new(
                    &rules::BAR_AFTER_UNMAP,
                    format!("{verb} at BAR {bar} offset {offset:#x} after it was unmapped"),
                )
                .at_place(Some(place))
                .on_device(name)
                .note(format!("it was mapped at {}:{}", mapped.file(), mapped.line()));
                self.report(finding);
                None
            }
            _ => {
                self.find(
                    &bringup_core::rules::BAR_OUT_OF_RANGE,
                    format!("{verb} at address {address:#x}, which no BAR is mapped to"),
                    Some(place),
                );
                None
            }
        }
    }
}

/// Reads `width` bytes from a mapped BAR; all ones when it cannot. `relaxed`: loads from memory after it may have been made before
/// it. A point.
#[inline]
#[track_caller]
pub fn mmio_read(address: usize, width: u8, relaxed: bool) -> u64 {
    let place = Location::caller();
    let (value, at) = with(|m| {
        m.last_place = Some(place);
        m.fetches.renew();
        m.bar_accesses += 1;
        let value = match m.iomap_at(address, "read", place) {
            Some((map, offset)) if offset + u64::from(width) <= map.len || map.len == 0 => {
                let value = if relaxed {
                    m.bus.bar_read_relaxed(map.device, map.bar, offset, width, place)
                } else {
                    m.bus.bar_read(map.device, map.bar, offset, width, Some(place))
                };
                m.hear(Origin::Bar { device: map.device, bar: map.bar, offset }, value, place);
                value
            }
            Some((map, offset)) => m.out_of_map(&map, offset, width, "read", place),
            None => u64::MAX >> (64 - 8 * u32::from(width)),
        };
        (value, m.at_point())
    });
    at.pass();
    value
}

/// Writes `width` bytes to a mapped BAR; they arrive when the chooser says, at the latest before a read of the device returns.
/// `relaxed`: stores to memory before it may land after it. A point.
#[inline]
#[track_caller]
pub fn mmio_write(address: usize, width: u8, value: u64, relaxed: bool) {
    let place = Location::caller();
    let at = with(|m| {
        m.last_place = Some(place);
        m.fetches.renew();
        m.bar_accesses += 1;
        match m.iomap_at(address, "write", place) {
            Some((map, offset)) if offset + u64::from(width) <= map.len || map.len == 0 => {
                let at = Access { bar: map.bar, offset, width };
                m.bus.bar_post(map.device, at, value, relaxed, Some(place));
                // A monitor may want to see memory from here on: a queue was enabled.
                m.follow_watches();
            }
            Some((map, offset)) => {
                m.out_of_map(&map, offset, width, "write", place);
            }
            None => {}
        }
        m.at_point()
    });
    at.pass();
}

impl Machine {
    #[cold]
    fn out_of_map(&mut self, map: &IoMap, offset: u64, width: u8, verb: &str, place: Place) -> u64 {
        let what =
            format!("{width}-byte {verb} at BAR {} offset {offset:#x}; only {:#x} bytes are mapped", map.bar, map.len);
        let name = self.device_name(map.device);
        self.report(Finding::new(&bringup_core::rules::BAR_OUT_OF_RANGE, what).at_place(Some(place)).on_device(name));
        u64::MAX >> (64 - 8 * u32::from(width))
    }
}

/// Reads 1, 2, 4 or 8 bytes of ordinary or coherent memory, untorn. Of coherent memory the memory model says which value it gets.
/// A point if the memory is coherent.
///
/// # Safety
/// `ptr` must be aligned and valid for a read of `width` bytes.
#[inline]
#[track_caller]
pub unsafe fn mem_read(ptr: *const u8, width: u8) -> u64 {
    // SAFETY: the caller's contract.
    let newest = || unsafe { load(ptr, width) };
    let value = match watch::offset(ptr) {
        Some(offset) => follow_load(ptr, offset, width, Location::caller(), newest),
        None => newest(),
    };
    follow::loaded(value);
    value
}

/// Writes 1, 2, 4 or 8 bytes of ordinary or coherent memory, untorn. When a device sees it is up to the memory model. A point if
/// the memory is coherent.
///
/// # Safety
/// `ptr` must be aligned and valid for a write of `width` bytes.
#[inline]
#[track_caller]
pub unsafe fn mem_write(ptr: *mut u8, width: u8, value: u64) {
    // SAFETY: the caller's contract.
    let land = || unsafe { store(ptr, width, value) };
    follow::stored(value);
    match watch::offset(ptr) {
        Some(offset) => follow_store(ptr, offset, width, value, Location::caller(), land),
        None => land(),
    }
}

/// # Safety
/// `ptr` must be aligned and valid for a read of `width` bytes.
#[inline]
unsafe fn load(ptr: *const u8, width: u8) -> u64 {
    // SAFETY: the caller's contract. Volatile, because a device may have written in between.
    unsafe {
        match width {
            1 => u64::from(ptr.read_volatile()),
            2 => u64::from(ptr.cast::<u16>().read_volatile()),
            4 => u64::from(ptr.cast::<u32>().read_volatile()),
            _ => ptr.cast::<u64>().read_volatile(),
        }
    }
}

/// # Safety
/// `ptr` must be aligned and valid for a write of `width` bytes.
#[inline]
unsafe fn store(ptr: *mut u8, width: u8, value: u64) {
    // SAFETY: the caller's contract. Volatile, because a device may look.
    unsafe {
        match width {
            1 => ptr.write_volatile(value as u8),
            2 => ptr.cast::<u16>().write_volatile(value as u16),
            4 => ptr.cast::<u32>().write_volatile(value as u32),
            _ => ptr.cast::<u64>().write_volatile(value),
        }
    }
}

fn follow_load(ptr: *const u8, offset: u64, width: u8, place: Place, newest: impl Fn() -> u64) -> u64 {
    let followed = try_with(|m| {
        let value = m.bus.fabric.cpu_load(RAM_BASE + offset, width.into(), newest(), place);
        if watch::is_watched(ptr, width.into()) {
            watch::show_access(m, offset, width.into(), false, place);
        }
        m.hear(Origin::Memory { at: offset }, value, place);
        m.fetched(RAM_BASE + offset, width.into(), value, place);
        (value, m.at_access())
    });
    let Some((value, at)) = followed else { return newest() };
    at.pass();
    value
}

fn follow_store(ptr: *const u8, offset: u64, width: u8, value: u64, place: Place, land: impl Fn()) {
    let at = try_with(|m| {
        if m.bus.fabric.cpu_store(RAM_BASE + offset, width.into(), value, place) {
            land();
        }
        if watch::is_watched(ptr, width.into()) {
            watch::show_access(m, offset, width.into(), true, place);
        }
        m.at_access()
    });
    match at {
        Some(at) => at.pass(),
        None => land(),
    }
}

/// What is longer than so many bytes is data, and no structure whose fields a driver goes by.
const MOST_STRUCTURE: usize = 32;

fn copied_structure(offset: u64, bytes: &[u8], place: Place) {
    try_with(|m| {
        m.hear_structure(offset, bytes, place);
        m.fetched(RAM_BASE + offset, bytes.len() as u64, 0, place);
    });
}

/// Copies out of memory that a device may share, as `memcpy` does: of no particular width.
///
/// # Safety
/// `from` must be valid for reads and `to` for writes of `len` bytes, and they must not overlap.
#[inline]
#[track_caller]
pub unsafe fn mem_copy_from(from: *const u8, to: *mut u8, len: usize) {
    if let Some(offset) = watch::offset(from) {
        let place = Location::caller();
        try_with(|m| m.bus.fabric.cpu_copies_from(RAM_BASE + offset, len, place));
    }
    // SAFETY: the caller's contract. What a device writes meanwhile comes from the same thread.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    if let Some(offset) = watch::offset(from).filter(|_| len <= MOST_STRUCTURE) {
        // SAFETY: the bytes were just written.
        copied_structure(offset, unsafe { std::slice::from_raw_parts(to, len) }, Location::caller());
    }
    follow::copied_from();
}

/// Copies into memory that a device may share, as `memcpy` does: of no particular width.
///
/// # Safety
/// `to` must be valid for writes and `from` for reads of `len` bytes, and they must not overlap.
#[inline]
#[track_caller]
pub unsafe fn mem_copy_to(to: *mut u8, from: *const u8, len: usize) {
    if let Some(offset) = watch::offset(to) {
        let place = Location::caller();
        try_with(|m| m.bus.fabric.cpu_copies_to(RAM_BASE + offset, len, place));
    }
    // SAFETY: the caller's contract. A device looks from the same thread.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    follow::stored(len as u64);
}

/// The most bytes of a copy that choices are taken for, word by word. What is longer is payload: there the rules about missing barriers
/// are enough, and a choice for each word would drown all others.
const MOST_CHOSEN: usize = 64;

/// Whether accesses to any of these bytes must be made word by word: monitors want to know of them, or choices are taken for them.
#[inline]
#[must_use]
pub fn mem_is_watched(ptr: *const u8, len: usize) -> bool {
    let Some(offset) = watch::offset(ptr) else { return false };
    watch::is_watched(ptr, len)
        || len <= MOST_CHOSEN
            && try_with(|m| m.bus.fabric.order.is_loose() && m.bus.fabric.order.follows(RAM_BASE + offset))
                == Some(true)
}

/// Says that coherent memory was filled through a pointer before the device was told of it. Nothing for other memory.
pub fn mem_filled(ptr: *const u8, len: usize, place: Place) {
    if let Some(offset) = watch::offset(ptr) {
        try_with(|m| m.bus.fabric.coherent_filled(RAM_BASE + offset, len, place));
    }
}

/// Says that a raw pointer into coherent memory was given away: the allocation cannot be followed any more. Nothing for other
/// memory.
pub fn mem_uncovered(ptr: *const u8, place: Place) {
    if let Some(offset) = watch::offset(ptr) {
        try_with(|m| m.bus.fabric.coherent_uncovered(RAM_BASE + offset, place));
    }
}

impl Machine {
    /// What is to be done after an access to memory: as at other points, except that it is not counted as an operation.
    #[inline]
    fn at_access(&mut self) -> AtPoint {
        if self.crashed || self.tasks.current.is_none() {
            return AtPoint::GoOn;
        }
        self.bus.land_some();
        if self.something_is_due() {
            AtPoint::Deliver
        } else if self.preempts_here() {
            AtPoint::Yield
        } else {
            AtPoint::GoOn
        }
    }
}
